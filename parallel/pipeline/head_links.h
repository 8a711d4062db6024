// What the stages of a pipeline send each other for a head that is split over them: the last stage
// with every other one of its line of the mesh, both ways.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/layout/mesh.h"
#include "runtime/comm/channel.h"

namespace fttrain {

class HeadLinks {
 public:
  // `max_message_bytes`: the usual message; longer ones still arrive. Agrees on errors. Collective
  // over the world.
  static absl::StatusOr<std::unique_ptr<HeadLinks>> Create(CommBackend backend,
                                                           const Process& process,
                                                           const MeshShape& shape,
                                                           int64_t max_message_bytes,
                                                           int places = 2);
  int stage() const { return stage_; }
  int num_stages() const { return static_cast<int>(ends_.size()); }
  bool is_last() const { return stage_ == num_stages() - 1; }
  int places() const { return places_; }

  // As in Channel. `peer`: any other stage on the last one, else the last. Throws c10::Error for
  // one that is not joined.
  void Send(int peer, const at::Tensor& tensor) { Joined(peer).out->Send(tensor); }
  void Post(int peer, MessageSpec spec) { Joined(peer).in->Post(std::move(spec)); }
  at::Tensor Take(int peer) { return Joined(peer).in->Take(); }
  void FinishSends();

  int64_t wire_bytes() const;  // sent by this rank

 private:
  struct Ends {
    std::unique_ptr<Channel> out, in;
  };
  HeadLinks(int stage, int num_stages, int places)
      : stage_(stage), places_(places), ends_(static_cast<size_t>(num_stages)) {}
  Ends& Joined(int peer);

  int stage_, places_;
  std::vector<Ends> ends_;  // by stage
};

}  // namespace fttrain
