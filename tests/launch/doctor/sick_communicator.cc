#include "tests/launch/doctor/sick_communicator.h"

#include <ATen/ATen.h>

#include <chrono>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr double kSlowRate = 0.5e6;  // also beside what a busy machine costs

void Sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

Members AllOf(const Process& process) {
  Members members;
  members.rank = process.rank();
  members.ranks.resize(static_cast<size_t>(process.world_size()));
  std::iota(members.ranks.begin(), members.ranks.end(), 0);
  members.activity = &process.activity();
  return members;
}

class WorkAndThen final : public Work {
 public:
  WorkAndThen(std::unique_ptr<Work> work, std::function<void()> then)
      : work_(std::move(work)), then_(std::move(then)) {}
  void Wait() override {
    work_->Wait();
    if (then_) std::exchange(then_, nullptr)();
  }

 private:
  std::unique_ptr<Work> work_;
  std::function<void()> then_;
};

class SickCommunicator final : public Communicator {
 public:
  SickCommunicator(std::unique_ptr<Communicator> well, Sickness sickness, const Process& process)
      : Communicator("doctor", AllOf(process)), well_(std::move(well)), sickness_(sickness) {}
  void Barrier() override { well_->Barrier(); }

 protected:
  std::unique_ptr<Work> DoAllReduce(at::Tensor tensor, ReduceOp op, Mode) override {
    well_->AllReduce(tensor, op);
    if (sickness_ == Sickness::kSumsWrong && rank() == size() - 1) tensor.view({-1})[0].add_(1);
    return nullptr;
  }
  std::unique_ptr<Work> DoAllGather(at::Tensor input, at::Tensor output, Mode) override {
    return well_->AllGatherAsync(input, std::move(output));
  }
  std::unique_ptr<Work> DoReduceScatter(at::Tensor input, at::Tensor output, Mode) override {
    return well_->ReduceScatterAsync(input, std::move(output));
  }
  std::unique_ptr<Work> DoAllToAll(at::Tensor input, at::Tensor output,
                                   const std::vector<int64_t>& sent,
                                   const std::vector<int64_t>& received) override {
    well_->AllToAll(input, std::move(output), sent, received);
    return nullptr;
  }
  std::unique_ptr<Work> DoSend(at::Tensor tensor, int peer) override {
    return well_->SendAsync(tensor, peer);
  }
  std::unique_ptr<Work> DoRecv(at::Tensor tensor, int peer) override {
    std::unique_ptr<Work> work = well_->RecvAsync(tensor, peer);
    if (rank() + peer != 2 * size() - 3) return work;  // not the last two
    return std::make_unique<WorkAndThen>(std::move(work), [=, this] { Suffer(tensor); });
  }

 private:
  void Suffer(const at::Tensor& tensor) const {
    const auto bytes = static_cast<double>(tensor.nbytes());
    switch (sickness_) {
      case Sickness::kCorrupts:
        if (tensor.numel() > 1000) tensor[1000].bitwise_xor_(4);
        return;
      case Sickness::kSlow:
        return Sleep(bytes / kSlowRate);
      case Sickness::kHangs:
        return Sleep(1e6);
      case Sickness::kThrows:
        if (rank() == size() - 1) throw CommError("the wire is cut");
        return;
      case Sickness::kNone:
      case Sickness::kSumsWrong:
        return;
    }
  }

  std::unique_ptr<Communicator> well_;
  const Sickness sickness_;
};

template <Sickness sickness>
absl::StatusOr<std::unique_ptr<Communicator>> Create(const Process& process,
                                                     const CommunicatorSpec& spec) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> well, CreateMpiCommunicator(process, spec));
  return std::make_unique<SickCommunicator>(std::move(well), sickness, process);
}

}  // namespace

CommBackend SickBackend(Sickness sickness) {
  switch (sickness) {
    case Sickness::kCorrupts:
      return Create<Sickness::kCorrupts>;
    case Sickness::kSlow:
      return Create<Sickness::kSlow>;
    case Sickness::kHangs:
      return Create<Sickness::kHangs>;
    case Sickness::kThrows:
      return Create<Sickness::kThrows>;
    case Sickness::kSumsWrong:
      return Create<Sickness::kSumsWrong>;
    case Sickness::kNone:
      break;
  }
  return Create<Sickness::kNone>;
}

}  // namespace fttrain
