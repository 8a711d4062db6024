#include "tests/mpi_test_main.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

const Process* g_process = nullptr;

// Rank 0 prints GoogleTest's report; the other ranks print their failures alone, each line with the
// rank.
class FailurePrinter final : public ::testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(const Process& process)
      : prefix_(absl::StrCat("[rank ", process.rank(), "/", process.world_size(), "] ")) {}

  void OnTestStart(const ::testing::TestInfo& info) override {
    test_ = absl::StrCat(info.test_suite_name(), ".", info.name());
  }

  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::string text = absl::StrCat(prefix_, test_, ": failure at ",
                                    result.file_name() == nullptr ? "?" : result.file_name(), ":",
                                    result.line_number(), "\n", prefix_);
    for (const char* c = result.message(); *c != '\0'; ++c) {
      text += *c;
      if (*c == '\n' && c[1] != '\0') text += prefix_;
    }
    text += '\n';
    std::fwrite(text.data(), 1, text.size(), stderr);
  }

 private:
  std::string prefix_, test_;
};

int RunTests(int argc, char** argv) {
  auto process = Process::Create(&argc, &argv);
  if (!process.ok()) {
    LogError(process.status().ToString());
    return 1;
  }
  ::testing::InitGoogleTest(&argc, argv);
  if ((*process)->rank() != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(**process));
  }
  g_process = process->get();
  const int local = RUN_ALL_TESTS();
  const absl::Status all = (*process)->AgreeOnStatus(
      local == 0 ? absl::OkStatus() : absl::InternalError("tests failed on this rank"));
  if (!all.ok() && (*process)->rank() == 0) LogError(all.ToString());
  return all.ok() ? 0 : 1;
}

}  // namespace

const Process& TestProcess() { return *g_process; }

}  // namespace fttrain

// Every rank runs every test; any rank red makes the job red on all of them.
int main(int argc, char** argv) {
  fttrain::InstallMemoryLedger();
  return fttrain::RunTests(argc, argv);
}
