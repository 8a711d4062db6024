#include "parallel/pipeline/stage_links.h"

#include <c10/util/Exception.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// In round r the stages s with RoundOf(s) == r send to the stage after them: no stage is in two
// channels of a round, so that the channels of a round are made at once.
int RoundOf(int sender, int num_stages) {
  // A ring of an odd number of stages has one pair too many for two rounds.
  if (num_stages % 2 == 1 && sender == num_stages - 1) return 2;
  return sender % 2;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StageLinks>> StageLinks::Create(CommBackend backend,
                                                               const Process& process,
                                                               const MeshShape& shape,
                                                               const StageLinksOptions& options) {
  const MeshPosition at = PositionOfRank(shape, process.rank());
  const int stages = shape.pp;
  std::unique_ptr<StageLinks> links(new StageLinks(at.pp, stages, options.places));
  if (stages == 1) return links;
  const int rounds = options.ring && stages % 2 == 1 ? 3 : 2;
  MeshPosition on_first_stage = at;
  on_first_stage.pp = 0;
  const int line = IndexIn(shape, on_first_stage, kAllAxes);  // ranks that differ in pp alone
  const auto linked = [&](int sender) { return options.ring || sender < stages - 1; };
  for (const Flow flow : {Flow::kForward, Flow::kBackward}) {
    for (int round = 0; round < rounds; ++round) {
      const int before = (at.pp + stages - 1) % stages;
      int lower = -1;  // the stage whose link to the stage after it this rank is part of
      if (linked(at.pp) && RoundOf(at.pp, stages) == round) lower = at.pp;
      if (linked(before) && RoundOf(before, stages) == round) lower = before;
      const bool sends = (lower == at.pp) == (flow == Flow::kForward);
      const std::string name =
          absl::StrCat(flow == Flow::kForward ? "activations" : "gradients", " between stages ",
                       lower, " and ", (lower + 1) % stages);
      FT_ASSIGN_OR_RETURN(std::unique_ptr<Channel> channel,
                          CreateChannel(backend, process, lower < 0 ? -1 : line * stages + lower,
                                        sends ? Channel::End::kSender : Channel::End::kReceiver,
                                        {name, options.places, options.max_message_bytes}));
      if (channel == nullptr) continue;
      Ends& ends = links->EndsOf(flow);
      (sends ? ends.out : ends.in) = std::move(channel);
    }
  }
  return links;
}

std::unique_ptr<StageLinks> StageLinks::None() {
  return std::unique_ptr<StageLinks>(new StageLinks(0, 1, 1));
}

Channel& StageLinks::ChannelOf(Flow flow, std::unique_ptr<Channel> Ends::*end) {
  const std::unique_ptr<Channel>& channel = EndsOf(flow).*end;
  TORCH_CHECK(channel != nullptr, "stage ", stage_, " of ", num_stages_, " has no stage to ",
              end == &Ends::out ? "send " : "take ",
              flow == Flow::kForward ? "activations" : "gradients",
              end == &Ends::out ? " to" : " from");
  return *channel;
}

bool StageLinks::PostsAhead() const {
  for (const Ends& ends : ends_) {
    if (ends.in != nullptr) return ends.in->PostsAhead();
  }
  return true;
}

void StageLinks::Ask() {
  for (Ends& ends : ends_) {
    if (ends.in != nullptr) ends.in->Ask();
  }
}

void StageLinks::FinishSends() {
  for (Ends& ends : ends_) {
    if (ends.out != nullptr) ends.out->FinishSends();
  }
}

int64_t StageLinks::wire_bytes(Flow flow) const {
  const Ends& ends = EndsOf(flow);
  return ends.out == nullptr ? 0 : ends.out->traffic().wire_bytes;
}

}  // namespace fttrain
