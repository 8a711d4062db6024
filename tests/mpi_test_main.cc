#include "tests/mpi_test_main.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "runtime/memory_ledger.h"

namespace fttrain {
namespace {
const Process* g_process = nullptr;
}
const Process& TestProcess() { return *g_process; }
}  // namespace fttrain

// Every rank runs every test; any rank red makes the job red on all of them.
int main(int argc, char** argv) {
  fttrain::InstallMemoryLedger();
  auto process = fttrain::Process::Create(&argc, &argv);
  if (!process.ok()) {
    std::fprintf(stderr, "%s\n", process.status().ToString().c_str());
    return 1;
  }
  ::testing::InitGoogleTest(&argc, argv);
  if ((*process)->rank() != 0) {
    // One report is enough; failures of other ranks still print below.
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
  }
  fttrain::g_process = process->get();
  const int local = RUN_ALL_TESTS();
  const absl::Status all = (*process)->AgreeOnStatus(
      local == 0 ? absl::OkStatus() : absl::InternalError("tests failed on this rank"));
  if (!all.ok() && (*process)->rank() == 0) std::fprintf(stderr, "%s\n", all.ToString().c_str());
  return all.ok() ? 0 : 1;
}
