// What a pipeline's neighbouring stages send each other: activations to the next run of layers,
// gradients to the run before.
#pragma once

#include <array>
#include <memory>

#include "absl/status/statusor.h"
#include "parallel/layout/mesh.h"
#include "runtime/comm/channel.h"

namespace fttrain {

enum class Flow { kForward, kBackward };

struct StageLinksOptions {
  // Several chunks a stage: the last stage's output goes on to the first stage's next chunk.
  bool ring = false;
  int64_t max_message_bytes = 0;  // the usual message; longer ones still arrive
  int places = 2;                 // as in ChannelOptions
};

class StageLinks {
 public:
  // One channel for each flow between neighbouring stages of a line of the mesh. Agrees on errors.
  // Collective over the world.
  static absl::StatusOr<std::unique_ptr<StageLinks>> Create(CommBackend backend,
                                                            const Process& process,
                                                            const MeshShape& shape,
                                                            const StageLinksOptions& options);
  // A stage that is the whole pipeline: nothing can be sent.
  static std::unique_ptr<StageLinks> None();

  int stage() const { return stage_; }
  int num_stages() const { return num_stages_; }
  int places() const { return places_; }

  // As Channel; all links alike.
  bool PostsAhead() const;
  // As in Channel; forward: to the next stage and from the one before, backward the other way.
  void Send(Flow flow, const at::Tensor& tensor) { ChannelOf(flow, &Ends::out).Send(tensor); }
  void Post(Flow flow, MessageSpec spec) { ChannelOf(flow, &Ends::in).Post(std::move(spec)); }
  void Ask();
  at::Tensor Take(Flow flow) { return ChannelOf(flow, &Ends::in).Take(); }
  void FinishSends();

  // Sent by this rank.
  int64_t wire_bytes(Flow flow) const;

 private:
  struct Ends {
    std::unique_ptr<Channel> out, in;  // null at the ends of the pipeline
  };
  StageLinks(int stage, int num_stages, int places)
      : stage_(stage), num_stages_(num_stages), places_(places) {}
  const Ends& EndsOf(Flow flow) const { return ends_[flow == Flow::kForward ? 0 : 1]; }
  Ends& EndsOf(Flow flow) { return ends_[flow == Flow::kForward ? 0 : 1]; }
  Channel& ChannelOf(Flow flow, std::unique_ptr<Channel> Ends::*end);

  int stage_, num_stages_, places_;
  std::array<Ends, 2> ends_;
};

}  // namespace fttrain
