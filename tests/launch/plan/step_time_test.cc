#include "launch/plan/step_time.h"

#include <gtest/gtest.h>

#include <cmath>

#include "launch/plan/stage_time.h"
#include "tests/launch/plan/lora_task.h"

namespace fttrain {
namespace {

constexpr double kTiny = 1e-9;

Task QloraTask(int layers, int64_t rows) {
  Task task = LoraTask(layers, rows);
  task.form.nf4 = Nf4Options{};
  task.form.nf4_dense = {task.model.head.name};
  return task;
}

Task FullTask(int layers, int64_t rows) {
  Task task = LoraTask(layers, rows);
  task.form.adapter.reset();
  task.form.train_base = true;
  return task;
}

Rig RigOf(const char* words) { return ParseRig(words).value(); }

// A rig on which nothing but products takes time.
Rig ProductsAlone(int cards) {
  constexpr double kAtOnce = 1e30;
  Rig rig;
  Card card{.name = "card",
            .memory_bytes = 1LL << 40,
            .peak_flops = 1e14,
            .gemm_flops = 1e14,
            .attention_flops = 1e14,
            .memory_bytes_per_second = kAtOnce};
  rig.cards.assign(static_cast<size_t>(cards), card);
  rig.collective = rig.neighbour = rig.between_hosts = rig.host_copy = rig.disk = kAtOnce;
  return rig;
}
constexpr Efficiencies kWithoutLatency = {.collective_seconds = 0};

double Shares(const StepTime& time) {
  return time.bubble + time.communication + time.dequantize + time.recompute + time.host_copies +
         time.optimizer;
}

TEST(StepTime, OfOneRankIsTheSumOfItsParts) {
  const Task task = QloraTask(4, 8);
  const Layout layout;
  const Rig rig = RigOf("4090");
  const StepTime time = TimeOf(task, layout, rig);
  const StepCounts counts = CountStep(task, layout, {});
  const StageTime stage =
      TimeOfStage(0, task, layout, counts, rig.cards[0], LinksOf(layout, rig), {});
  EXPECT_NEAR(time.seconds,
              8 * (stage.forward[0].Total() + stage.backward[0].Total()) + stage.end.Total(),
              kTiny);
  EXPECT_EQ(time.tokens, 8 * 2048);
  EXPECT_NEAR(time.bubble, 0, kTiny);
  EXPECT_EQ(time.communication, 0);
  EXPECT_EQ(time.bound, "products of the cards");
}

TEST(StepTime, IsHalfWhereProductsAreTwiceAsFastAndNothingElseTakesTime) {
  const Task task = LoraTask(4, 8);
  Rig rig = ProductsAlone(1);
  const double seconds = TimeOf(task, {}, rig).seconds;
  rig.cards[0].gemm_flops *= 2;
  rig.cards[0].attention_flops *= 2;
  EXPECT_NEAR(TimeOf(task, {}, rig).seconds, seconds / 2, kTiny);
}

TEST(StepTime, OfProductsAloneIsTheModelsFlops) {
  Task task = LoraTask(2, 1);
  task.form.adapter.reset();
  const double tokens = 2048, h = 4096, f = 14336, kv = 1024;
  const double layer = h * (h + 2 * kv) + h * h + 3 * h * f;
  const double attention = 4 * tokens * (tokens + 1) / 2 * h;
  const double flops = 2 * (4 * tokens * layer + 3.5 * attention) + 4 * tokens * h * 128256;
  const StepTime time = TimeOf(task, {}, ProductsAlone(1));
  EXPECT_NEAR(time.seconds * 1e14 / flops, 1, kTiny);
  EXPECT_NEAR(time.mfu, 1, kTiny);
  // Gradients of weights are half as much again.
  task.form.train_base = true;
  const double trained = flops + 2 * 2 * tokens * layer + 2 * tokens * h * 128256;
  EXPECT_NEAR(TimeOf(task, {}, ProductsAlone(1)).seconds * 1e14 / trained, 1, 1e-6);
}

// 128 experts, whose rows are soon multiplied: dense ones run in 12 batches, and each one's rows
// are added there and back; of NF4 each is expanded and multiplied for itself.
TEST(StepTime, OfManySmallExpertsIsThatOfTheirLaunches) {
  Task task = LoraTask(1, 1);
  LlamaShape shape{.hidden_size = 256,
                   .intermediate_size = 64,
                   .num_layers = 2,
                   .num_heads = 4,
                   .num_kv_heads = 4,
                   .head_dim = 64,
                   .vocab_size = 1000,
                   .max_position_embeddings = 8192};
  shape.moe = {.experts = 128, .top_k = 8, .intermediate_size = 64};
  task.model = LlamaLike(shape);
  task.form.adapter->target_modules = {{"q_proj"}};
  const Rig rig = RigOf("H100");
  const double dense = TimeOf(task, {}, rig).seconds;
  EXPECT_GT(dense, 2 * (128 * (1 + 1) + 12 * (9 + 15)) * 5e-6);
  EXPECT_LT(dense, 3 * (128 * (1 + 1) + 12 * (9 + 15)) * 5e-6);
  task.form.nf4.emplace();
  const double seconds = TimeOf(task, {}, rig).seconds;
  EXPECT_GT(seconds, 2 * 128 * (7 + 7) * 5e-6);
  EXPECT_LT(seconds, 3 * 128 * (7 + 7) * 5e-6);
  Layout divided = {.mesh = {.dp = 2, .ep = 2}};
  task.rows_per_step = 2;
  EXPECT_LT(TimeOf(task, divided, RigOf("2xH100")).seconds, 0.7 * seconds) << "half as many each";
}

TEST(StepTime, CountsOnlyTheKeysThatAWindowShows) {
  Task task = LoraTask(1, 1);
  auto& attention = std::get<AttentionSpec>(task.model.layers.Change()[0][0].body);
  const double all = TimeOf(task, {}, ProductsAlone(1)).seconds;
  attention.window = 4096;  // longer than a row
  EXPECT_NEAR(TimeOf(task, {}, ProductsAlone(1)).seconds, all, kTiny);
  attention.window = 256;
  const double pairs = 2048.0 * 2049 / 2 - (256.0 * 257 / 2 + (2048 - 256) * 256);
  EXPECT_NEAR(all - TimeOf(task, {}, ProductsAlone(1)).seconds, 3.5 * 4 * pairs * 4096 / 1e14,
              kTiny);
}

// The head would make the last stage longer than the others.
Task WithoutHead(int layers, int64_t rows) {
  Task task = LoraTask(layers, rows);
  task.model.vocab_size = 0;
  return task;
}

Layout Pipeline(int stages, PipelineKind kind, int layers, int chunks = 1) {
  const int runs = stages * chunks;
  Layout layout = {.mesh = {.pp = stages}, .schedule = kind};
  for (int run = 0; run < runs; ++run) layout.layers_per_run.push_back(layers / runs);
  return layout;
}

TEST(StepTime, OfEqualStagesHasTheBubbleOfTheClosedForm) {
  for (const PipelineKind kind : {PipelineKind::kOneForwardOneBackward, PipelineKind::kGPipe}) {
    for (const int p : {2, 4}) {
      for (const int m : {4, 16}) {
        const StepTime time =
            TimeOf(WithoutHead(8, m), Pipeline(p, kind, 8), ProductsAlone(p), kWithoutLatency);
        EXPECT_NEAR(time.bubble, (p - 1.0) / (m + p - 1.0), kTiny) << p << " stages, " << m;
      }
    }
  }
}

TEST(StepTime, OfAnInterleavedPipelineWaitsLess) {
  for (const int v : {2, 4}) {
    const StepTime time = TimeOf(WithoutHead(16, 8), Pipeline(4, PipelineKind::kInterleaved, 16, v),
                                 ProductsAlone(4), kWithoutLatency);
    EXPECT_NEAR(time.bubble, 3.0 / (v * 8 + 3), kTiny) << v;
  }
}

TEST(StepTime, OfAPipelineIsItsLastSpanAndWhatFollows) {
  const Task task = QloraTask(8, 8);
  const Layout layout = Pipeline(2, PipelineKind::kOneForwardOneBackward, 8);
  const Rig rig = RigOf("2x4090");
  const StepTime time = TimeOf(task, layout, rig);
  const StepCounts counts = CountStep(task, layout, {});
  double end = 0, last = 0;
  for (int stage = 0; stage < 2; ++stage) {
    const StageTime of_stage =
        TimeOfStage(stage, task, layout, counts, rig.cards[0], LinksOf(layout, rig), {});
    end = std::max(end, of_stage.end.Total());
    ASSERT_EQ(time.stages.at(static_cast<size_t>(stage)).size(), 16U);
    double before = 0;
    for (const StageSpan& span : time.stages[static_cast<size_t>(stage)]) {
      EXPECT_GE(span.begin, before - kTiny);
      EXPECT_GT(span.end, span.begin);
      before = span.end;
    }
    last = std::max(last, before);
  }
  EXPECT_NEAR(time.seconds, last + end, kTiny);
}

TEST(StepTime, OfMixedCardsIsShorterWhereTheFasterHasMoreLayers) {
  const Task task = LoraTask(24, 16);
  const Rig rig = RigOf("1x3090+1x4090");
  Layout layout = Pipeline(2, PipelineKind::kOneForwardOneBackward, 24);
  const double equal = TimeOf(task, layout, rig).seconds;
  layout.layers_per_run = {8, 16};
  const double uneven = TimeOf(task, layout, rig).seconds;
  layout.layers_per_run = {16, 8};
  EXPECT_LT(uneven, 0.9 * equal);
  EXPECT_GT(TimeOf(task, layout, rig).seconds, equal);
}

TEST(StepTime, OfReplicasWaitsForTheSlowestCard) {
  const Task task = LoraTask(4, 4);
  const Layout layout = {.mesh = {.dp = 2}};
  const double slow = TimeOf(task, layout, RigOf("2x3090")).seconds;
  EXPECT_NEAR(TimeOf(task, layout, RigOf("1x4090+1x3090")).seconds, slow, 0.02 * slow);
}

TEST(StepTime, GrowsWithWhatIsRecomputed) {
  const Task task = QloraTask(4, 4);
  Layout layout;
  double before = 0;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
    layout.recompute = recompute;
    const StepTime time = TimeOf(task, layout, RigOf("4090"));
    EXPECT_GT(time.seconds, before);
    EXPECT_EQ(time.recompute > 0, recompute != Recompute::kNone);
    before = time.seconds;
  }
}

TEST(StepTime, HasNoTimeForCopiesThatPassBesideTheWork) {
  const Task task = LoraTask(4, 4);
  Layout layout;
  Rig rig = RigOf("4090");
  rig.host_copy = 200e9;
  const double kept = TimeOf(task, layout, rig).seconds;
  layout.activations = Place::kHost;
  EXPECT_NEAR(TimeOf(task, layout, rig).seconds, kept, kTiny);
  rig.host_copy = 1e9;
  const StepTime time = TimeOf(task, layout, rig);
  const double copied = 2 * 4 * 4 * CountStep(task, layout, {}).bytes[0].kept;
  EXPECT_NEAR(time.seconds, copied / 1e9 + CountStep(task, layout, {}).head.products * 4 / 165.2e12,
              0.02 * time.seconds);
  EXPECT_GT(time.host_copies, 0.5);
  EXPECT_EQ(time.bound, "copies from and to the host");
}

TEST(StepTime, OfStreamedWeightsIsThatOfTheirCopyWhereItIsSlow) {
  const Task task = QloraTask(4, 2);
  Layout layout;
  layout.frozen = FrozenPlace::kHost;
  Rig rig = ProductsAlone(1);
  rig.host_copy = 1e6;
  double bytes = 0;
  for (const GroupBytes& layer : CountStep(task, layout, {}).bytes) bytes += layer.frozen;
  const double head = 2 * CountStep(task, layout, {}).head.products / 1e14;
  // Each of two microbatches wants every layer forward and backward.
  EXPECT_NEAR(TimeOf(task, layout, rig).seconds, 4 * bytes / 1e6 + head, 1e-6);
  layout.schedule = PipelineKind::kLayerMajor;
  layout.layers_per_run = {1, 1, 1, 1};
  EXPECT_NEAR(TimeOf(task, layout, rig).seconds, 2 * bytes / 1e6 + head, 1e-6);
}

TEST(StepTime, OfZero3IsThatOfItsCollectivesWhereTheyAreSlow) {
  Task task = FullTask(4, 4);
  task.model.vocab_size = 0;
  const Layout layout = {.mesh = {.dp = 2}, .zero_stage = 3};
  Rig rig = ProductsAlone(2);
  rig.collective = 1e6;
  double values = 0, gradients = 0;
  for (const GroupBytes& layer : CountStep(task, layout, {}).bytes) {
    values += layer.values();
    gradients += layer.gradients;
  }
  const StepCounts counts = CountStep(task, layout, {});
  // Two microbatches a rank: values come forward and backward, gradients go once; each rank sends
  // half of them. The final norm comes forward.
  const double sent = 2 * (2 * values + gradients) / 2 +
                      2 * (counts.head_bytes.values() + counts.head_bytes.gradients) / 2;
  const StepTime time = TimeOf(task, layout, rig, kWithoutLatency);
  EXPECT_NEAR(time.seconds, sent / 1e6, 1e-6 * time.seconds);
  EXPECT_GT(time.communication, 0.99);
  EXPECT_EQ(time.bound, "links between the cards");
}

TEST(StepTime, OfTensorParallelismSendsFourActivationsALayer) {
  Task task = LoraTask(2, 1);
  task.form.adapter.reset();
  task.model.vocab_size = 0;
  Layout layout = {.mesh = {.tp = 2}};
  Rig rig = ProductsAlone(2);
  rig.collective = 1e6;
  const double one = 2048.0 * 4096 * 2;  // an all_reduce of two ranks sends it once
  const double ends = 2 * one;           // the embedding's sum and the head's gradient
  EXPECT_NEAR(TimeOf(task, layout, rig, kWithoutLatency).communication *
                  TimeOf(task, layout, rig, kWithoutLatency).seconds,
              (2 * 4 * one + ends) / 1e6, 1e-3);
  // With sequence parallelism the same bytes, of which the embedding scatters half.
  layout.sequence_parallel = true;
  EXPECT_NEAR(TimeOf(task, layout, rig, kWithoutLatency).communication *
                  TimeOf(task, layout, rig, kWithoutLatency).seconds,
              (2 * 4 * one + ends - one / 2) / 1e6, 1e-3);
}

TEST(StepTime, DequantizesOnceALayerWhereMicrobatchesPassTogether) {
  const Task task = QloraTask(4, 8);
  Layout layout;
  const Efficiencies nothing_hidden = {.dequantize_hidden = 0};
  const StepTime each = TimeOf(task, layout, RigOf("4090"), nothing_hidden);
  layout.schedule = PipelineKind::kLayerMajor;
  layout.layers_per_run = {1, 1, 1, 1};
  const StepTime together = TimeOf(task, layout, RigOf("4090"), nothing_hidden);
  EXPECT_NEAR(together.dequantize * together.seconds, each.dequantize * each.seconds / 8, kTiny);
}

TEST(StepTime, OfANetworkIsSharedByTheRanksOfAHost) {
  Task task = FullTask(2, 8);
  const Layout layout = {.mesh = {.tp = 4, .dp = 2}, .zero_stage = 1};
  const Rig fast = RigOf("8x4090/2nodes-100G"), slow = RigOf("8x4090/2nodes");
  EXPECT_DOUBLE_EQ(LinksOf(layout, slow).tp, slow.collective);
  EXPECT_DOUBLE_EQ(LinksOf(layout, slow).dp, slow.between_hosts / 4);
  EXPECT_GT(TimeOf(task, layout, slow).seconds, TimeOf(task, layout, fast).seconds);
}

// Of what each of 8 ranks of a host sends to 15 others, that to 8 of them leaves it.
TEST(StepTime, OfExpertsOverHostsIsThatOfAllThatLeavesAHost) {
  const Rig one = RigOf("16xH100"), two = RigOf("16xH100/2nodes"), four = RigOf("16xH100/4nodes");
  const Layout all = {.mesh = {.dp = 16, .ep = 16}};
  EXPECT_DOUBLE_EQ(LinksOf(all, one).ep, one.collective);
  EXPECT_DOUBLE_EQ(LinksOf(all, two).ep, two.between_hosts / (8 * 8 / 15.0));
  EXPECT_DOUBLE_EQ(LinksOf(all, four).ep, four.between_hosts / (4 * 12 / 15.0));
  EXPECT_DOUBLE_EQ(LinksOf(all, two).dp, two.between_hosts) << "a ring leaves a host once";
  const Layout within = {.mesh = {.dp = 16, .ep = 8}};
  EXPECT_DOUBLE_EQ(LinksOf(within, two).ep, two.collective);
  // Two lines of eight, each with four ranks of a host.
  const Layout across = {.mesh = {.tp = 2, .dp = 8, .ep = 8}};
  EXPECT_DOUBLE_EQ(LinksOf(across, two).ep, two.between_hosts / (2 * 4 * 4 / 7.0));
  EXPECT_EQ(LinksOf({.mesh = {.dp = 16}}, two).ep, 0);
}

TEST(StepTime, UpdatesOnAHostThatNoOtherHostsRanksSlowDown) {
  const Task task = FullTask(8, 16);
  Layout layout = {.mesh = {.dp = 8}, .zero_stage = 1};
  layout.state = StatePlace::kHost;
  EXPECT_EQ(LinksOf(layout, RigOf("8x4090")).ranks_per_host, 8);
  EXPECT_EQ(LinksOf(layout, RigOf("8x4090/2nodes")).ranks_per_host, 4);
  Rig one = ProductsAlone(8), two = one;
  two.hosts = 2;
  const double slower = TimeOf(task, layout, one).seconds,
               quicker = TimeOf(task, layout, two).seconds;
  EXPECT_GT(slower, 1.2 * quicker) << "two hosts' memories update at twice one's rate";
}

TEST(StepTime, SharesNeverAddUpToMoreThanTheStep) {
  for (const auto& task : {LoraTask(8, 16), QloraTask(8, 16), FullTask(8, 16)}) {
    for (const MeshShape mesh : {MeshShape{.tp = 4}, MeshShape{.pp = 4}, MeshShape{.dp = 4},
                                 MeshShape{.tp = 2, .pp = 2}, MeshShape{.pp = 2, .dp = 2}}) {
      for (const int zero : {0, 1, 2, 3}) {
        Layout layout = {.mesh = mesh, .sequence_parallel = true, .zero_stage = zero};
        layout.recompute = Recompute::kSmart;
        const StepTime time = TimeOf(task, layout, RigOf("4x4090"));
        EXPECT_GE(time.bubble, 0);
        EXPECT_LT(Shares(time), 1);
        EXPECT_GT(time.mfu, 0);
        EXPECT_LT(time.mfu, 1);
        EXPECT_TRUE(std::isfinite(time.TokensPerSecond()));
      }
    }
  }
}

}  // namespace
}  // namespace fttrain
