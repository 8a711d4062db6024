// What a plan says that tensor parallelism sends beside what a model sent.
#include <gtest/gtest.h>

#include "launch/plan/counts.h"
#include "launch/run/network.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr int32_t kTokens = kSequence;  // a multiple of every tp tried

int64_t SentForAMicrobatch(Job& job, const Communicator& line) {
  Transformer& model = *job.network->transformer;
  const Communicator& tp = job.network->mesh->tp();
  std::vector<ModelBatch> batches;
  batches.push_back(MakeModelBatch(std::vector<int32_t>(kTokens, 3),
                                   std::vector<int32_t>(kTokens, 5), {0, kTokens},
                                   std::vector<int64_t>(kTokens, 0), 1, tp.size(), at::kCPU));
  model.BeginStep(std::move(batches), std::make_unique<TokenLoss>(1.0));
  const int64_t before = line.traffic().wire_bytes;
  RunSchedule(OneForwardOneBackward(0, 1, 1), model);
  return line.traffic().wire_bytes - before;
}

double Counted(const Task& task, const Layout& layout) {
  double sent = CountHead(task, layout, {}).sent + CountEmbedding(task, layout).forward.sent;
  for (const LayerSpec& layer : task.model.layers) {
    const LayerCounts counts = CountLayer(layer, task, layout, {});
    sent += counts.forward.sent + counts.again.sent + counts.backward.sent;
  }
  return sent;
}

TEST(Counts, OfWhatTensorParallelismSendsAreWhatAModelSends) {
  const int tp = TestProcess().world_size();
  const Task task = TinyTask();
  for (const bool sequence_parallel : {false, true}) {
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
      const Layout layout = {
          .mesh = {tp, 1, 1}, .sequence_parallel = sequence_parallel, .recompute = recompute};
      const auto job = BuildTiny(task, layout);
      // Not counted: three numbers a target. Counted and not sent: the gradient of the frozen
      // embedding's output.
      const int64_t statistics = (tp - 1) * kTokens * 3 * 8;
      const int64_t none =
          (sequence_parallel ? 1 : 2) * (tp - 1) * kTokens * task.model.hidden_size * 8 / tp;
      const int64_t sent = SentForAMicrobatch(*job, job->network->mesh->tp());
      EXPECT_EQ(static_cast<double>(sent - statistics + none), Counted(task, layout))
          << ToString(layout);
    }
  }
}

// Where every expert takes every token each has as many.
TEST(Counts, OfWhatRanksThatDivideExpertsExchangeAreWhatAModelSends) {
  constexpr int64_t kExperts = 8;
  const int ep = TestProcess().world_size();
  for (const bool full : {false, true}) {
    Task task = TinyTask({.full = full});
    LlamaShape shape = TinyShape(/*tied=*/false, /*layers=*/3);
    shape.moe = {.experts = kExperts, .top_k = 8, .intermediate_size = 12, .in_layer = {false}};
    task.model = LlamaLike(shape);
    if (!full) task.form.adapter->target_modules = {{"q_proj"}};
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
      const Layout layout = {.mesh = {.dp = ep, .ep = ep}, .recompute = recompute};
      const auto job = BuildTiny(task, layout);
      double counted = 0;
      for (const LayerSpec& layer : task.model.layers) {
        const LayerCounts counts = CountLayer(layer, task, layout, {});
        counted += counts.forward.exchanged + counts.again.exchanged + counts.backward.exchanged;
      }
      // Not counted: how many rows there are for each expert, in each forward of a layer with some.
      const int64_t forwards = recompute == Recompute::kNone ? 2 : 4;
      const int64_t numbers = forwards * 8 * kExperts / ep * (ep - 1);
      const int64_t sent = SentForAMicrobatch(*job, job->network->mesh->ep());
      EXPECT_EQ(static_cast<double>(sent - numbers), counted) << ToString(layout);
    }
  }
}

}  // namespace
}  // namespace fttrain
