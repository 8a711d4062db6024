// One-way messages between two ranks, in order: what a pipeline's stages hand to each other. Each
// channel has a transport of its own, so that a receive that waits never holds up a send.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/backends.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

// A message as its receiver expects it.
struct MessageSpec {
  std::vector<int64_t> sizes;
  at::TensorOptions options;
  MemoryCategory category = MemoryCategory::kCommunication;  // of the received tensor
};

struct ChannelOptions {
  std::string name;  // for errors
  // Messages that may wait to be taken before the sender waits. At least 1.
  int places = 2;
  // Longer messages, and those between hosts, go over MPI.
  int64_t place_bytes = 0;
};

class HostChannel;

class Channel {
 public:
  enum class End { kSender, kReceiver };

  Channel(std::unique_ptr<Communicator> pair, std::unique_ptr<HostChannel> host,
          const ChannelOptions& options);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Sender. The tensor (contiguous) must not change before FinishSends. On CPU returns when the
  // message has found a place; on CUDA it is ordered with the current stream, which waits where the
  // host would.
  void Send(const at::Tensor& tensor);
  // The current stream (CPU: the caller) waits until nothing is being sent.
  void FinishSends();

  // Whether a message may be posted at any time before its Take; not where receives occupy the
  // device, which may then do nothing that the sender waits for.
  bool PostsAhead() const { return !pair_->OccupiesDevice(); }
  // Receiver. Announces the next message, in the order sent, and takes memory for it.
  void Post(MessageSpec spec);
  // Receives what is posted. Take does so too; but once receives occupy the device, taking memory
  // for others may have to wait for them.
  void Ask();
  // The oldest message that was posted, ordered with the current stream. Throws CommError if it has
  // not the size expected.
  at::Tensor Take();

  // wire_bytes: those sent here.
  Traffic traffic() const;

 private:
  struct Expected {
    MessageSpec spec;
    bool through_host;
    at::Tensor buffer;  // undefined until the message is copied out of host memory
    std::unique_ptr<Work> work;
  };
  bool ThroughHost(int64_t bytes) const;
  at::Tensor ReceiveThroughHost(const MessageSpec& spec);

  std::unique_ptr<Communicator> pair_;
  std::unique_ptr<HostChannel> host_;
  size_t places_;
  std::deque<std::unique_ptr<Work>> sends_;
  std::deque<Expected> expected_;
  Traffic through_host_;
};

// The two ranks that give the same `color` are joined; color < 0: this rank takes no part and gets
// null. `end` is this rank's. Agrees on errors. Collective over the world, every rank in the same
// order.
absl::StatusOr<std::unique_ptr<Channel>> CreateChannel(CommBackend backend, const Process& process,
                                                       int color, Channel::End end,
                                                       const ChannelOptions& options);

}  // namespace fttrain
