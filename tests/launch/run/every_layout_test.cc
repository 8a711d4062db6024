// Two optimizer steps in every layout on this many ranks, the second one short of rows: gradients,
// loss and updated parameters equal one rank's to 1e-10, in float64. Of the layout matrix the
// subset that has every three values together; all of it with FTTRAIN_WHOLE_MATRIX set.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "runtime/process/log.h"
#include "tests/launch/run/planned_layout.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

// Moments in 8 bits are the one thing that a layout may change: gradients in float32 that differ in
// their last bits, or a slice that blocks do not divide, give an element another code. Compared are
// the first step, and the second's loss loosely; its gradient norm, of adapters of rank 128 with a
// large B, as near as float32 is: on one rank it is up to 4e-5 from float64's, where layouts agree.
Near HowNear(const Task& task) {
  if (task.moments == MomentStorage::kGradientDtype) return {};
  return {.gradients = 1e-3, .numbers = 1e-4, .steps = 1, .parameters = false};
}

// Steps of one rank, trained once for each task.
class OneRankCache {
 public:
  const Trained& StepsOf(const Combination& combination, const Task& task) {
    // The routers' loss is one of each microbatch.
    const int rows = combination.balances ? combination.rows_of_a_microbatch : 0;
    const std::tuple key(combination[kMethod], combination[kMoments], combination.tied_and_padded,
                         combination.experts, combination.latents, combination.sinks,
                         combination.adapts_experts, task.model.num_layers(), rows);
    const auto [at, fresh] = trained_.try_emplace(key);
    if (fresh) {
      const auto job = BuildTiny(task, {.micro_batch_rows = std::max(rows, 1)});
      at->second = Train(*job, task.steps);
      EXPECT_GT(at->second.metrics.front().grad_norm, task.max_grad_norm) << "nothing to clip";
    }
    return at->second;
  }

 private:
  using Key = std::tuple<std::string, std::string, bool, bool, bool, bool, bool, int64_t, int>;
  std::map<Key, Trained> trained_;
};

bool IsWhole() { return std::getenv("FTTRAIN_WHOLE_MATRIX") != nullptr; }

// Combinations of the matrix that are trained on these ranks.
std::vector<Combination> Selected() {
  std::vector<Combination> selected = WorkingCombinations();
  if (!IsWhole()) selected = CoveringSubset(selected);
  std::erase_if(selected,
                [](const Combination& c) { return c.Ranks() != TestProcess().world_size(); });
  return selected;
}

// A rank that throws leaves the others waiting for it: the job ends, and says where.
std::unique_ptr<Job> TrainOrAbort(const Combination& combination, const CheckedRun& run,
                                  Trained& trained) {
  try {
    auto job = BuildTiny(run.task, run.layout);
    trained = Train(*job, run.task.steps);
    return job;
  } catch (const std::exception& error) {
    LogError(ToString(combination) + ": " + error.what());
    TestProcess().AbortJob(1);
  }
}

TEST(EveryLayout, TrainsTwoStepsAsOneRankDoes) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Combination> selected = Selected();
  ASSERT_FALSE(selected.empty());
  OneRankCache one_rank;
  for (size_t i = 0; i < selected.size(); ++i) {
    const Combination& combination = selected[i];
    SCOPED_TRACE(ToString(combination));
    if (IsWhole() && i % 100 == 0) {
      LogInfo(std::to_string(i) + " of " + std::to_string(selected.size()) +
              " layouts; next: " + ToString(combination));
    }
    const auto run = Plan(combination);
    ASSERT_TRUE(run.ok()) << run.status();  // on every rank alike
    Trained trained;
    const auto job = TrainOrAbort(combination, *run, trained);
    ExpectNear(trained, one_rank.StepsOf(combination, run->task), *job->network->mesh,
               HowNear(run->task));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  LogInfo(std::to_string(selected.size()) + " layouts on " +
          std::to_string(TestProcess().world_size()) + " ranks in " +
          std::to_string(seconds.count()) + " s");
}

}  // namespace
}  // namespace fttrain
