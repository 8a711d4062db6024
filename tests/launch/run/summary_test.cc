#include "launch/run/summary.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "model/config/families/llama_shape.h"

namespace fttrain {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

ModelSpec Model(int64_t layers) {
  return LlamaLike({.hidden_size = 64,
                    .intermediate_size = 128,
                    .num_layers = layers,
                    .num_heads = 4,
                    .num_kv_heads = 2,
                    .head_dim = 16,
                    .vocab_size = 1000});
}

Task AdapterTask() {
  Task task;
  task.form.adapter = {.target_modules = {{"q_proj", "v_proj"}}};
  task.model = Model(4);
  task.rows.sequence_len = 256;
  return task;
}

TEST(StartSummary, SaysWhichModelOfTheHubAFolderIs) {
  Task task = AdapterTask();
  task.model_path = "/cache/models--org--tiny/snapshots/a1";
  EXPECT_THAT(StartSummary(task, Layout{}, {at::kCPU}, {1, 2}, DatasetSummary{}),
              HasSubstr("model      org/tiny (/cache/models--org--tiny/snapshots/a1): "));
}

TEST(StartSummary, SaysWhereEverythingIsInPeftsWords) {
  Task task = AdapterTask();
  task.model_path = "models/tiny";
  task.model.family = "llama";
  task.steps = 30;
  task.rows_per_step = 12;
  Layout layout;
  layout.mesh = {/*tp=*/2, /*pp=*/1, /*dp=*/2};
  layout.sequence_parallel = true;
  layout.zero_stage = 1;
  layout.micro_batch_rows = 2;
  layout.recompute = Recompute::kSmart;
  layout.activations = Place::kHost;
  DatasetSummary data;
  data.examples = 60;
  data.tokens = 12345;
  data.targets = 5000;
  data.rows = 60;
  data.truncated = 3;
  data.longest = 400;
  data.cut_tokens = 144;
  data.dropped = 2;
  data.dropped_tokens = 11;
  const std::string text = StartSummary(task, layout, {at::kCPU}, {460800, 134975808}, data);
  EXPECT_THAT(
      text,
      HasSubstr("trainable params: 460,800 || all params: 134,975,808 || trainable%: 0.3414"));
  EXPECT_THAT(text,
              HasSubstr("models/tiny: llama, 4 layers, hidden 64, heads 4/2, vocabulary 1000; "));
  EXPECT_THAT(text, HasSubstr("4 ranks = dp 2 x pp 1 x tp 2; zero stage 1; sequence parallel on"));
  EXPECT_THAT(text, HasSubstr("  stage 0 on ranks 0-3: embedding, layers 0-3, head (1/2 of each "
                              "matrix)\n"));
  EXPECT_THAT(text, HasSubstr("12 rows a step = micro batch 2 x accumulation 3 x dp 2; 30 steps"));
  EXPECT_THAT(text,
              HasSubstr("60 examples, 12,345 tokens, 5,000 with a target (40.5%), 60 rows an "
                        "epoch; 3 of 60 examples cut to 256 tokens (the longest has 400): 144 "
                        "tokens, 1.2% left out; 2 dropped (11 tokens, under 0.1%): no target "
                        "left once cut\n"));
  EXPECT_THAT(text, HasSubstr("lora r 16, alpha 32, dropout 0 on q_proj, v_proj"));
  // Layer input and residual: 64 float32 each, split over two ranks.
  EXPECT_THAT(text,
              HasSubstr("recompute smart: a layer keeps 256 bytes of each token, in host memory"));
  EXPECT_THAT(text, Not(HasSubstr("nf4")));
  layout.recompute = Recompute::kNone;
  layout.activations = Place::kDevice;
  // q 2 heads, k and v 1, attention's output 2, of 16; gate and up 64 each; lse 2; input, residual.
  EXPECT_THAT(StartSummary(task, layout, {at::kCPU}, {460800, 134975808}, data),
              HasSubstr("recompute none: a layer keeps 1,160 bytes of each token, on the device"));
}

TEST(FilesSummary, HasALineAFileAndOneForWhatThereIsToSay) {
  DatasetReport plain;
  plain.path = "a.jsonl";
  plain.format = RowFormat::kMessages;
  plain.rows = 1;
  DatasetReport rich = plain;
  rich.path = "b.jsonl";
  rich.format = RowFormat::kText;
  rich.why = "rows have 'text'";
  rich.rows = 1200;
  rich.skipped = 5;
  rich.faults = {"b.jsonl:1: x", "b.jsonl:2: x", "b.jsonl:3: x", "b.jsonl:4: x", "b.jsonl:5: x"};
  rich.unused = {{"id", 1195}, {"source", 7}};
  rich.straddling = 1;
  rich.dropped_reasoning = 2;
  rich.cut_texts = 3;
  rich.pieces = 8;
  EXPECT_EQ(FilesSummary({plain, rich}),
            "rows       a.jsonl: messages, 1 row\n"
            "rows       b.jsonl: text (rows have 'text'), 1,200 rows, 5 skipped\n"
            "             columns not used: id (1,195 rows), source (7)\n"
            "             1 token that begins before an answer and ends in it: not learnt\n"
            "             2 answers without their reasoning, which the template leaves out of "
            "earlier turns (data.turns each keeps it)\n"
            "             3 texts longer than data.sequence_len, in 8 pieces\n"
            "             skipped b.jsonl:1: x\n"
            "             skipped b.jsonl:2: x\n"
            "             skipped b.jsonl:3: x\n"
            "             ... and 2 more; data.on_bad_row stop tells them");
}

TEST(FilesSummary, TellsOfManyColumnsThoseOfTheMostRows) {
  DatasetReport report;
  report.path = "a.jsonl";
  report.format = RowFormat::kText;
  report.rows = 1200;
  for (int i = 0; i < 1200; ++i) report.unused[absl::StrCat("key", 1000 + i)] = 1;
  report.unused["source"] = 1200;
  const std::string line = FileLines(report).at(1);
  EXPECT_THAT(line, testing::StartsWith("columns not used: source (1,200 rows), key1000 (1), "));
  EXPECT_THAT(line, testing::EndsWith(", key1018 (1), ... and 1,181 more"));
}

TEST(StartSummary, SaysHowManyRowsTheLastStepHasWhereTheEpochsEndInIt) {
  Task task = AdapterTask();
  task.steps = 3;
  task.rows_per_step = 8;
  DatasetSummary data;
  data.rows = 9;
  const auto text = [&](int64_t stream_rows) {
    data.stream_rows = stream_rows;
    return StartSummary(task, {.micro_batch_rows = 2}, {at::kCPU}, {1, 2}, data);
  };
  EXPECT_THAT(text(17), EndsWith("; 3 steps; the last has the 1 row left of the run's 17"));
  EXPECT_THAT(text(18), EndsWith("; 3 steps; the last has the 2 rows left of the run's 18"));
  EXPECT_THAT(text(24), EndsWith("; 3 steps"));
  EXPECT_THAT(text(0), EndsWith("; 3 steps")) << "train.max_steps";
}

TEST(StartSummary, SaysThatRoutersHaveALossAndWhoAskedForIt) {
  Task task = AdapterTask();
  task.rows_per_step = 2;
  const auto text = [&] {
    return StartSummary(task, {.micro_batch_rows = 2}, {at::kCPU}, {1, 2}, {});
  };
  EXPECT_THAT(text(), Not(HasSubstr("routers")));
  task.router_loss = 0.25;
  EXPECT_THAT(text(), HasSubstr("routers    their loss, over each microbatch (of 2 rows), times "
                                "0.25 beside the tokens'\n"));
  task.model.router_loss = 0.25;
  EXPECT_THAT(text(), HasSubstr("(as router_aux_loss_coef of config.json) beside the tokens'\n"));
}

TEST(StartSummary, NamesTheDeviceAndHowRanksCommunicate) {
  const auto text = [](const Machine& machine) {
    return StartSummary(AdapterTask(), {}, machine, {1, 2}, {});
  };
  EXPECT_THAT(text({at::kCPU}), HasSubstr("fp32 on cpu\n"));
  EXPECT_THAT(text({at::kCPU}), Not(HasSubstr("over")));
  const std::string gpu = text({c10::Device(at::kCUDA, 1), "NVIDIA H100 80GB HBM3", "NCCL"});
  EXPECT_THAT(gpu, HasSubstr("on cuda:1 (NVIDIA H100 80GB HBM3)\n"));
  EXPECT_THAT(gpu, HasSubstr("threads a rank; over NCCL\n"));
}

TEST(TransportName, SaysWhyGpusDoNotUseNccl) {
  const c10::Device gpu(at::kCUDA, 0);
  EXPECT_EQ(TransportName(CreateMpiCommunicator, at::kCPU), "MPI");
  EXPECT_EQ(TransportName(CreateMpiCommunicator, gpu),
            "MPI through host memory, for ranks share a GPU");
  EXPECT_EQ(TransportName(CreateNcclCommunicator, gpu), "NCCL");
}

TEST(StartSummary, SaysHowAnNf4BaseIsStoredAndWhatOfItIsNot) {
  Task task = AdapterTask();
  task.form.compute = at::kBFloat16;
  task.form.nf4 = Nf4Options{64, true, at::kBFloat16};
  ParameterCounts counts{10, 1000};
  counts.nf4_matrices = 14;
  counts.nf4_elements = 1000;
  counts.nf4_bytes = 516;
  counts.dense_frozen = {"model.embed_tokens", "lm_head"};
  const std::string text = StartSummary(task, {.embedding = Place::kHost}, {at::kCPU}, counts, {});
  EXPECT_THAT(text,
              HasSubstr("base       nf4, blocks of 64, 8-bit scales: 14 matrices at 4.128 bits "
                        "a parameter; in bf16: model.embed_tokens (on the host), lm_head"));
}

TEST(StartSummary, SaysWhichLayersAreOnWhichStage) {
  Task task;
  task.model = Model(8);
  const Layout layout{.mesh = {.pp = 2}, .layers_per_run = {2, 2, 3, 1}};
  const std::string text = StartSummary(task, layout, {at::kCPU}, {1, 2}, {});
  EXPECT_THAT(text, HasSubstr("  stage 0 on rank 0: embedding, layers 0-1, 4-6\n"));
  EXPECT_THAT(text, HasSubstr("  stage 1 on rank 1: layers 2-3, 7, head\n"));
}

TEST(StartSummary, HasALineAStageHoweverManyRanks) {
  const auto text = [&](MeshShape mesh) {
    Task task;
    task.model = Model(8);
    task.rows_per_step = mesh.dp;
    return StartSummary(task, {.mesh = mesh, .layers_per_run = {4, 4}}, {at::kCPU}, {1, 2}, {});
  };
  EXPECT_THAT(text({/*tp=*/2, /*pp=*/2, /*dp=*/3}),
              HasSubstr("stage 1 on ranks 2-3, 6-7, 10-11: "));
  EXPECT_THAT(text({/*tp=*/1, /*pp=*/2, /*dp=*/4}), HasSubstr("stage 0 on ranks 0, 2, 4, 6: "));
  const std::string large = text({/*tp=*/2, /*pp=*/2, /*dp=*/128});
  EXPECT_THAT(large, HasSubstr("stage 0 on ranks 0-1, 4-5, 8-9 ... 508-509: "));
  EXPECT_THAT(large, HasSubstr("stage 1 on ranks 2-3, 6-7, 10-11 ... 510-511: "));
  EXPECT_LT(std::count(large.begin(), large.end(), '\n'), 10);
}

}  // namespace
}  // namespace fttrain
