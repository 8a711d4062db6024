#include "parallel/pipeline/head_links.h"

#include <c10/util/Exception.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::StatusOr<std::unique_ptr<HeadLinks>> HeadLinks::Create(CommBackend backend,
                                                             const Process& process,
                                                             const MeshShape& shape,
                                                             int64_t max_message_bytes,
                                                             int places) {
  const MeshPosition at = PositionOfRank(shape, process.rank());
  const int last = shape.pp - 1, line = at.dp * shape.tp + at.tp;
  std::unique_ptr<HeadLinks> links(new HeadLinks(at.pp, shape.pp, places));
  for (int peer = 0; peer < last; ++peer) {
    const bool joined = at.pp == peer || at.pp == last;
    for (const bool to_last : {false, true}) {
      const bool sends = (at.pp == last) != to_last;
      const std::string name =
          absl::StrCat("the head's ", to_last ? "parts from stage " : "rows to stage ", peer);
      FT_ASSIGN_OR_RETURN(std::unique_ptr<Channel> channel,
                          CreateChannel(backend, process, joined ? line : -1,
                                        sends ? Channel::End::kSender : Channel::End::kReceiver,
                                        {name, places, max_message_bytes}));
      if (channel == nullptr) continue;
      Ends& ends = links->ends_[static_cast<size_t>(at.pp == last ? peer : last)];
      (sends ? ends.out : ends.in) = std::move(channel);
    }
  }
  return links;
}

HeadLinks::Ends& HeadLinks::Joined(int peer) {
  const bool there = peer >= 0 && peer < num_stages();
  TORCH_CHECK(there && ends_[static_cast<size_t>(peer)].out != nullptr, "stage ", stage_, " of ",
              num_stages(), " sends stage ", peer, " nothing of a split head");
  return ends_[static_cast<size_t>(peer)];
}

void HeadLinks::FinishSends() {
  for (Ends& ends : ends_) {
    if (ends.out != nullptr) ends.out->FinishSends();
  }
}

int64_t HeadLinks::wire_bytes() const {
  int64_t bytes = 0;
  for (const Ends& ends : ends_) {
    if (ends.out != nullptr) bytes += ends.out->traffic().wire_bytes;
  }
  return bytes;
}

}  // namespace fttrain
