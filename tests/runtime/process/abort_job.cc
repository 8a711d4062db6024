// For the tests of the abort path: the last rank fails while the others wait for it.
//   abort_job abort    by AbortJob, in a collective
//   abort_job throw    by an exception, under a destructor that waits for what never comes
//   abort_job lost     by a transport that has lost a peer
//   abort_job end      by EndFromAnyThread, from a thread that may not call MPI
//   abort_job connect  while the ranks of a communicator connect
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/comm/backends.h"
#include "runtime/process/check.h"
#include "runtime/process/last_words.h"
#include "runtime/process/log.h"
#include "runtime/process/peer_lost.h"
#include "runtime/process/process.h"

namespace fttrain {
namespace {

constexpr int kExitCode = 42;
constexpr const char* kText = "the disk is full";

bool IsLast(const Process& process) { return process.rank() == process.world_size() - 1; }

// As a buffer that waits for a peer, which waits for this rank.
struct WaitsForEver {
  ~WaitsForEver() {
    while (true) std::this_thread::sleep_for(std::chrono::seconds(1));
  }
};

Members MembersOf(const Process& process) {
  Members members{.rank = process.rank(), .ranks = {}};
  for (int rank = 0; rank < process.world_size(); ++rank) members.ranks.push_back(rank);
  return members;
}

// As over NCCL, which waits for the peers where none can be told to stop.
class FailsToConnect final : public Communicator {
 public:
  explicit FailsToConnect(const Process& process)
      : Communicator("test", MembersOf(process)), process_(process) {}
  void Connect(Use) override {
    if (IsLast(process_)) throw CommError(kText);
    Barrier();
  }
  // Not the agreement's kind of collective, so that the two cannot meet.
  void Barrier() override { process_.IdleBarrier(); }

 protected:
  std::unique_ptr<Work> DoAllReduce(at::Tensor, ReduceOp, Mode) override { return nullptr; }
  std::unique_ptr<Work> DoAllGather(at::Tensor, at::Tensor, Mode) override { return nullptr; }
  std::unique_ptr<Work> DoReduceScatter(at::Tensor, at::Tensor, Mode) override { return nullptr; }
  std::unique_ptr<Work> DoAllToAll(at::Tensor, at::Tensor, const std::vector<int64_t>&,
                                   const std::vector<int64_t>&) override {
    return nullptr;
  }
  std::unique_ptr<Work> DoSend(at::Tensor, int) override { return nullptr; }
  std::unique_ptr<Work> DoRecv(at::Tensor, int) override { return nullptr; }

 private:
  const Process& process_;
};

absl::StatusOr<std::unique_ptr<Communicator>> CreateFailing(const Process& process,
                                                            const CommunicatorSpec&) {
  return std::make_unique<FailsToConnect>(process);
}

void Fail(std::string_view how, const Process& process) {
  if (how == "connect") {
    (void)CreateCommunicator(CreateFailing, process, {});
    return;
  }
  if (!IsLast(process)) return;
  if (how == "throw") {
    const WaitsForEver waits;
    throw CommError(kText);
  }
  if (how == "lost") throw PeerLostError(kText);
  LogError(kText);
  if (how == "end") std::thread([] { Process::EndFromAnyThread(kExitCode, kText); }).join();
  process.AbortJob(kExitCode);
}

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) {
  using namespace fttrain;
  const std::string_view how = argv[1];
  auto process = Process::Create(&argc, &argv);
  if (!process.ok()) return 1;
  (*process)->AbortJobOnUncaught(kExitCode);
  SetLastWords([](int exit_code, const std::string& message) {
    LogError(absl::StrCat("last words ", exit_code, ": ", message));
  });
  Fail(how, **process);
  (*process)->Barrier();
  return 0;
}
