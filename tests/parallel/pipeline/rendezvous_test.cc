// The executor where communication waits as NCCL's does (tests/runtime/comm/rendezvous.h).
#include "tests/runtime/comm/rendezvous.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/pipeline/executor.h"
#include "parallel/pipeline/schedule.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

constexpr double kSeconds = 20;

// Each run of layers doubles what it gets, and adds the microbatch; the way back adds one.
class DoublingStage : public StageModule {
 public:
  explicit DoublingStage(const StageLinks& links, int chunks)
      : links_(links), last_run_(links.num_stages() * chunks - 1) {}
  at::Tensor Forward(int chunk, int microbatch, at::Tensor input) override {
    const at::Tensor x = input.defined() ? input : at::zeros({4}, at::kDouble);
    const at::Tensor y = x * 2 + (microbatch + 1);
    if (RunOf(chunk) < last_run_) return y;
    outputs += y.sum().item<double>();
    return {};
  }
  at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) override {
    const at::Tensor d = doutput.defined() ? doutput + 1 : at::full({4}, microbatch, at::kDouble);
    if (RunOf(chunk) > 0) return d;
    gradients += d.sum().item<double>();
    return {};
  }
  MessageSpec Boundary(int) const override { return {{4}, at::TensorOptions(at::kDouble)}; }
  double outputs = 0, gradients = 0;

 private:
  int RunOf(int chunk) const { return chunk * links_.num_stages() + links_.stage(); }
  const StageLinks& links_;
  int last_run_;
};

void RunKind(LaunchesWait::For which, PipelineKind kind, int chunks, int microbatches) {
  const int stages = TestProcess().world_size(), runs = stages * chunks;
  SCOPED_TRACE(testing::Message() << stages << " stages, " << chunks << " chunks, " << microbatches
                                  << " microbatches, schedule " << static_cast<int>(kind));
  const auto links = StageLinks::Create(CreateRendezvousCommunicator, TestProcess(), {1, stages, 1},
                                        {.ring = chunks > 1});
  ASSERT_TRUE(links.ok()) << links.status();
  DoublingStage stage(**links, chunks);
  {
    const LaunchesWait waits(which, kSeconds);
    RunSchedule(MakeAllStages(kind, stages, chunks, microbatches), stage, **links);
  }
  double outputs = 0, gradients = 0;
  for (int m = 0; m < microbatches; ++m) {
    outputs += 4.0 * (m + 1) * ((1 << runs) - 1);
    gradients += 4.0 * (m + runs - 1);
  }
  EXPECT_EQ(stage.outputs, (*links)->stage() == stages - 1 ? outputs : 0);
  EXPECT_EQ(stage.gradients, (*links)->stage() == 0 ? gradients : 0);
}

class Rendezvous : public testing::TestWithParam<LaunchesWait::For> {};

TEST_P(Rendezvous, DoesNotHangAnySchedule) {
  const int stages = TestProcess().world_size();
  for (int m = 1; m <= 8; ++m) {
    RunKind(GetParam(), PipelineKind::kGPipe, 1, m);
    RunKind(GetParam(), PipelineKind::kOneForwardOneBackward, 1, m);
  }
  for (const int chunks : {1, 2}) {
    for (int m = stages; m <= 8; m += stages) {
      RunKind(GetParam(), PipelineKind::kInterleaved, chunks, m);
    }
  }
}

TEST_P(Rendezvous, DoesNotHangForwardsAlone) {
  const int stages = TestProcess().world_size();
  for (const int chunks : {1, 2}) {
    const auto links = StageLinks::Create(CreateRendezvousCommunicator, TestProcess(),
                                          {1, stages, 1}, {.ring = chunks > 1});
    ASSERT_TRUE(links.ok()) << links.status();
    DoublingStage stage(**links, chunks);
    const LaunchesWait waits(GetParam(), kSeconds);
    RunSchedule(PipelineSchedule(stages, ForwardsOnly(stages, chunks, 8)), stage, **links);
  }
}

INSTANTIATE_TEST_SUITE_P(Launches, Rendezvous,
                         testing::Values(LaunchesWait::For::kFirstOfAName,
                                         LaunchesWait::For::kEvery));

}  // namespace
}  // namespace fttrain
