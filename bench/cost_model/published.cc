#include <cstdio>
#include <string>
#include <vector>

#include "bench/cost_model/tables.h"
#include "launch/plan/step_time.h"
#include "model/config/families/llama_shape.h"

namespace fttrain {
namespace {

enum class Method { kLora, kQlora, kFull };

// A stack whose kernels this program does not have.
struct Stack {
  const char* name;
  Efficiencies efficiencies;
  int64_t r = 16;  // of its adapters
};

// Adapters by products of their own, kernels one after another from Python, weights expanded by a
// kernel at 45 % of the bandwidth (bitsandbytes), logits of all rows in float32. Gathers do not
// pass beside products: [5]'s rows of two 3090s with a slow link say so (7B LoRA, a row a
// microbatch: 3090 s, where replicas that gather nothing need 881 for as many rows).
const Stack kPeft = {"PEFT-like",
                     {.dequantize = 0.45,
                      .dequantize_hidden = 0,
                      .launch_seconds = 3e-4,
                      .beside = false,
                      .fused = false,
                      .logits_in_parts = false,
                      .whole_layers_again = true},
                     64};
// torch.compile fuses and leaves no gaps; torchao expands weights as slowly.
const Stack kCompiled = {
    "compiled", {.dequantize = 0.45, .dequantize_hidden = 0, .whole_layers_again = true}, 64};
// Transformer Engine and Triton kernels, from Python.
const Stack kNemo = {
    "TE, Triton",
    {.launch_seconds = 2e-4, .fused = false, .logits_in_parts = false, .whole_layers_again = true}};
const Stack kUnfused = {"unfused", {.fused = false}};
const Stack kTuned = {"tuned", {.whole_layers_again = true}};

LlamaShape Shape(int64_t hidden, int64_t ffn, int64_t layers, int64_t heads, int64_t kv_heads,
                 int64_t vocabulary) {
  return {.hidden_size = hidden,
          .intermediate_size = ffn,
          .num_layers = layers,
          .num_heads = heads,
          .num_kv_heads = kv_heads,
          .head_dim = 128,
          .vocab_size = vocabulary,
          .max_position_embeddings = 8192};
}

const LlamaShape kLlama2_7b = Shape(4096, 11008, 32, 32, 32, 32000);
const LlamaShape kLlama2_70b = Shape(8192, 28672, 80, 64, 8, 32000);
const LlamaShape kLlama3_8b = Shape(4096, 14336, 32, 32, 8, 128256);
const LlamaShape kLlama3_70b = Shape(8192, 28672, 80, 64, 8, 128256);
const LlamaShape kYi34b = Shape(7168, 20480, 60, 56, 8, 64000);
const LlamaShape kQwen7b = Shape(3584, 18944, 28, 28, 4, 152064);
const LlamaShape kQwen14b = Shape(5120, 13824, 48, 40, 8, 152064);
const LlamaShape kQwen72b = Shape(8192, 24576, 80, 64, 64, 152064);

struct Published {
  std::string what;  // with its source, by the numbers below
  double tokens_per_second;
  const LlamaShape& shape;
  Method method;
  const Stack& stack;
  const char* rig;
  int64_t sequence_len, rows;  // of a rank's microbatch
  int64_t accumulation = 1;
  MeshShape mesh = {};
  int zero_stage = 1;
  Recompute recompute = Recompute::kFull;
  bool streamed = false;  // weights in host memory
  StatePlace state = StatePlace::kDevice;
  bool one_layer = false;  // tokens a second of a layer alone
  double collective = 0;   // bytes a second, where it is known that they are not the usual
};

constexpr char kSources[] =
    "[1] IST-DASLab/llmq benchmarks/4090x1.md, H100x1.md  [2] pytorch/torchtune README.md\n"
    "[3] CentML/lorafusion simulator/configs, benchmarks_paper  [4] NVIDIA-NeMo/Automodel "
    "docs/performance-summary\n"
    "[5] AnswerDotAI/fsdp_qlora benchmarks_03_2024.md  [6] QwenLM/Qwen README.md\n";

// Of [5]: seconds of 1024 rows of 2048 tokens, on two cards unless said.
Published FsdpQlora(const std::string& what, double seconds, const LlamaShape& shape, Method method,
                    int64_t rows) {
  return {.what = "fsdp_qlora " + what + " [5]",
          .tokens_per_second = 1024 * 2048 / seconds,
          .shape = shape,
          .method = method,
          .stack = kPeft,
          .rig = "2x4090",
          .sequence_len = 2048,
          .rows = rows,
          .mesh = {.dp = 2},
          .zero_stage = 3};
}
Published WithoutFsdp(Published row) {
  row.zero_stage = 0;
  return row;
}
Published WithWeightsOnTheHost(Published row) {
  row.streamed = true;
  return row;
}
Published On(const char* rig, int cards, Published row, double collective = 0) {
  row.rig = rig;
  row.mesh.dp = cards;
  row.collective = collective;
  return row;
}

std::vector<Published> FsdpQloraRows() {
  constexpr Method kQlora = Method::kQlora, kLora = Method::kLora;
  const Published large =
      WithWeightsOnTheHost(FsdpQlora("70B, weights on the host", 4399, kLlama2_70b, kQlora, 2));
  return {
      WithoutFsdp(FsdpQlora("7B QLoRA, DDP", 450, kLlama2_7b, kQlora, 8)),
      WithoutFsdp(FsdpQlora("7B LoRA, DDP", 437, kLlama2_7b, kLora, 4)),
      FsdpQlora("7B LoRA", 481, kLlama2_7b, kLora, 6),
      FsdpQlora("34B", 2072, kYi34b, kQlora, 2),
      WithWeightsOnTheHost(FsdpQlora("34B, weights on the host", 2061, kYi34b, kQlora, 4)),
      large,
      // That board's link by its other rows: 13 GB a step of LoRA in the 4.3 s that are not work.
      On("2x3090-x8", 2,
         WithWeightsOnTheHost(
             FsdpQlora("70B, 2 x 3090 at 280 W, old board", 11795, kLlama2_70b, kQlora, 2)),
         3e9),
      On("8xA100-40", 8, FsdpQlora("70B, 8 x A100", 672, kLlama2_70b, kQlora, 4)),
      On("4xH100", 4, FsdpQlora("70B, 4 x H100", 667, kLlama2_70b, kQlora, 8)),
  };
}

Published Llmq(const char* what, double tokens_per_second, const LlamaShape& shape, const char* rig,
               int64_t rows) {
  return {.what = std::string("LLMQ ") + what + ", all weights [1]",
          .tokens_per_second = tokens_per_second,
          .shape = shape,
          .method = Method::kFull,
          .stack = kTuned,
          .rig = rig,
          .sequence_len = 1024,
          .rows = rows,
          .accumulation = 512 / rows,
          // As the page's commands: those for 4090s recompute blocks and offload the state.
          .recompute = rows < 16 ? Recompute::kNone : Recompute::kFull,
          .state = rows < 16 ? StatePlace::kDevice : StatePlace::kHost};
}

Published OnOneCard(const char* what, double tokens_per_second, const LlamaShape& shape,
                    Method method, const Stack& stack) {
  return {.what = what,
          .tokens_per_second = tokens_per_second,
          .shape = shape,
          .method = method,
          .stack = stack,
          .rig = "4090",
          .sequence_len = 2048,
          .rows = 2};
}

Published OnH100(const char* what, double tokens_per_second, const LlamaShape& shape,
                 const Stack& stack, int64_t sequence_len, int64_t rows) {
  Published row = OnOneCard(what, tokens_per_second, shape, Method::kLora, stack);
  row.rig = "H100";
  row.sequence_len = sequence_len;
  row.rows = rows;
  row.recompute = Recompute::kNone;
  return row;
}

std::vector<Published> Rows() {
  std::vector<Published> rows = {
      Llmq("7B, 4090", 2780, kQwen7b, "4090", 16),
      Llmq("14B, 4090", 1348, kQwen14b, "4090", 32),
      Llmq("7B, H100", 13850, kQwen7b, "H100", 4),
      OnOneCard("torchtune 8B LoRA, 4090 [2]", 3083, kLlama3_8b, Method::kLora, kCompiled),
      OnOneCard("torchtune 8B QLoRA, 4090 [2]", 2413, kLlama3_8b, Method::kQlora, kCompiled),
      OnH100("LoRAFusion 70B, a layer, H100 [3]", 4096 / 27.36e-3, kLlama3_70b, kUnfused, 4096, 1),
      OnH100("LoRAFusion 8B, short rows, H100 [3]", 14875, kLlama3_8b, kTuned, 512, 12),
      OnH100("AutoModel 8B LoRA, H100 [4]", 12473, kLlama3_8b, kNemo, 4096, 2),
      OnH100("AutoModel 70B LoRA, 8 x H100 [4]", 8 * 1092, kLlama3_70b, kNemo, 4096, 2)};
  rows[5].one_layer = true;
  Published& large = rows.back();
  large.rig = "8xH100";
  large.mesh = {.tp = 2, .dp = 4};
  large.zero_stage = 3;
  large.recompute = Recompute::kFull;
  for (const Published& row : FsdpQloraRows()) rows.push_back(row);
  rows.push_back(OnOneCard("Qwen 72B QLoRA in int4, A100 [6]", 8 * 8192 / 179.8, kQwen72b,
                           Method::kQlora, kPeft));
  rows.back().rig = "A100";
  rows.back().sequence_len = 8192;
  rows.back().rows = 1;
  rows.back().accumulation = 8;
  return rows;
}

Task TaskOf(const Published& row, int layers) {
  LlamaShape shape = row.shape;
  shape.num_layers = layers;
  Task task;
  task.model = LlamaLike(shape);
  task.form.compute = at::kBFloat16;
  task.form.train_base = row.method == Method::kFull;
  if (row.method != Method::kFull) {
    task.form.adapter =
        AdapterForm{.r = row.stack.r, .target_modules = {{ModuleNames::kAllLinear}}};
  }
  if (row.method == Method::kQlora) {
    task.form.nf4 = Nf4Options{};
    task.form.nf4_dense = {task.model.head.name};
  }
  task.rows.sequence_len = row.sequence_len;
  task.rows_per_step = row.rows * row.accumulation * row.mesh.dp;
  return task;
}

double ModelsTokensPerSecond(const Published& row, const Rig& rig, const Efficiencies& stack) {
  const Layout layout = {.mesh = row.mesh,
                         .micro_batch_rows = row.rows,
                         .sequence_parallel = row.mesh.tp > 1,
                         .zero_stage = row.zero_stage,
                         .recompute = row.recompute,
                         .frozen = row.streamed ? FrozenPlace::kHost : FrozenPlace::kDevice,
                         .state = row.state};
  const auto time = [&](int layers) { return TimeOf(TaskOf(row, layers), layout, rig, stack); };
  if (!row.one_layer) return time(static_cast<int>(row.shape.num_layers)).TokensPerSecond();
  return time(1).tokens / (time(2).seconds - time(1).seconds);
}

// With what was chosen to meet the rows themselves, a stack that overlaps nothing and a link that
// is not the usual one; and without.
struct Modelled {
  double fitted = 0, plain = 0;
};
Modelled ModelOf(const Published& row) {
  Rig rig = ParseRig(row.rig).value();
  Efficiencies stack = row.stack.efficiencies;
  stack.beside = true;
  const double plain = ModelsTokensPerSecond(row, rig, stack);
  if (row.collective > 0) rig.collective = row.collective;
  return {ModelsTokensPerSecond(row, rig, row.stack.efficiencies), plain};
}

bool IsFar(double ratio) { return ratio < 0.8 || ratio > 1.2; }

}  // namespace

void PrintPublished() {
  std::printf(
      "| published result | tokens/s | model | measured / model | before fitting | stack | |\n"
      "|---|---|---|---|---|---|---|\n");
  int near = 0, near_plain = 0;
  const std::vector<Published> rows = Rows();
  for (const Published& row : rows) {
    const Modelled model = ModelOf(row);
    const double ratio = row.tokens_per_second / model.fitted;
    const double plain = row.tokens_per_second / model.plain;
    near += IsFar(ratio) ? 0 : 1;
    near_plain += IsFar(plain) ? 0 : 1;
    std::printf("| %s | %.0f | %.0f | %.2f | %.2f | %s | %s |\n", row.what.c_str(),
                row.tokens_per_second, model.fitted, ratio, plain, row.stack.name,
                IsFar(ratio) ? "off" : "");
  }
  std::printf("\n%d of %zu within 20 %%, %d before fitting\n%s", near, rows.size(), near_plain,
              kSources);
}

}  // namespace fttrain
