// Of one rank alone, which rehearses what it would do among others.
#include <ATen/ATen.h>

#include <numeric>

#include "runtime/comm/backends.h"
#include "runtime/comm/host_channel.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

Members MembersOf(const Process& process, const CommunicatorSpec& spec) {
  Members members{.rank = spec.key, .ranks = {}, .activity = &process.activity()};
  members.ranks.resize(static_cast<size_t>(spec.size));
  std::iota(members.ranks.begin(), members.ranks.end(), 0);
  return members;
}

// Keeps what the operation needs until it is waited for.
class HeldWork final : public Work {
 public:
  explicit HeldWork(std::vector<at::Tensor> held) : held_(std::move(held)) {}
  void Wait() override { held_.clear(); }

 private:
  std::vector<at::Tensor> held_;
};

class SilentCommunicator final : public Communicator {
 public:
  SilentCommunicator(std::string axis, const Members& members, bool over_nccl)
      : Communicator(std::move(axis), members), over_nccl_(over_nccl) {}
  void Barrier() override {}
  bool OccupiesDevice() const override { return over_nccl_; }
  std::unique_ptr<HostChannel> OpenHostChannel(int places, int64_t place_bytes) override {
    return over_nccl_ ? nullptr : HostChannel::Silent(places, place_bytes);
  }

 protected:
  // Where a caller waits, ranks of one host add in shared memory.
  std::unique_ptr<Work> DoAllReduce(at::Tensor tensor, ReduceOp, Mode mode) override {
    if (mode == Mode::kBlocking) return nullptr;
    const int64_t part = (tensor.numel() + size() - 1) / size();
    return Hold({tensor}, part * size() * tensor.element_size());
  }
  std::unique_ptr<Work> DoAllGather(at::Tensor input, at::Tensor output, Mode mode) override {
    if (mode == Mode::kBlocking) return nullptr;
    return Hold({input, output}, 0);
  }
  std::unique_ptr<Work> DoReduceScatter(at::Tensor input, at::Tensor output, Mode mode) override {
    if (mode == Mode::kBlocking) return nullptr;
    return Hold({input, output}, static_cast<int64_t>(input.nbytes()));
  }
  std::unique_ptr<Work> DoAllToAll(at::Tensor input, at::Tensor output, const std::vector<int64_t>&,
                                   const std::vector<int64_t>&) override {
    return Hold({input, output}, 0);
  }
  std::unique_ptr<Work> DoSend(at::Tensor tensor, int) override { return Hold({tensor}, 0); }
  std::unique_ptr<Work> DoRecv(at::Tensor tensor, int) override { return Hold({tensor}, 0); }

 private:
  std::unique_ptr<Work> Hold(std::vector<at::Tensor> tensors, int64_t workspace) const {
    const MemoryScope scope(MemoryCategory::kCommunication);
    if (workspace > 0 && !over_nccl_) tensors.push_back(at::empty({workspace}, at::kByte));
    return std::make_unique<HeldWork>(std::move(tensors));
  }

  const bool over_nccl_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateSilentCommunicator(
    const Process& process, const CommunicatorSpec& spec) {
  if (spec.color < 0) return nullptr;
  return std::make_unique<SilentCommunicator>(spec.axis, MembersOf(process, spec),
                                              /*over_nccl=*/false);
}

absl::StatusOr<std::unique_ptr<Communicator>> CreateSilentNcclCommunicator(
    const Process& process, const CommunicatorSpec& spec) {
  if (spec.color < 0) return nullptr;
  return std::make_unique<SilentCommunicator>(spec.axis, MembersOf(process, spec),
                                              /*over_nccl=*/true);
}

}  // namespace fttrain
