#include <cstdio>
#include <iterator>
#include <vector>

#include "bench/cost_model/tables.h"
#include "launch/plan/cpu_rig.h"
#include "launch/plan/step_time.h"
#include "model/config/families/llama_shape.h"
#include "model/network/runs.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// bench/nf4_bench: a copy on both cores.
constexpr double kCopy = 21.5e9;

struct Recorded {
  const char* what;
  Layout layout;
  double seconds;
};

// Of one task.
struct Table {
  const char* name;
  Task task;
  std::vector<Recorded> rows;
};

Task TaskOf(const LlamaShape& shape, int64_t sequence_len, int64_t rows) {
  Task task;
  task.model = LlamaLike(shape);
  task.form.compute = at::kBFloat16;
  task.form.adapter = AdapterForm{.r = 16, .target_modules = {{ModuleNames::kAllLinear}}};
  task.rows.sequence_len = sequence_len;
  task.rows_per_step = rows;
  return task;
}

// The 0.2 B model of compare_peft.py.
LlamaShape Small() {
  return {.hidden_size = 1024,
          .intermediate_size = 2816,
          .num_layers = 12,
          .num_heads = 16,
          .num_kv_heads = 4,
          .head_dim = 64,
          .vocab_size = 32000,
          .max_position_embeddings = 2048};
}

// A layer a run.
Layout LayerMajorly(Layout layout) {
  layout.schedule = PipelineKind::kLayerMajor;
  layout.layers_per_run.assign(12, 1);
  return layout;
}
Layout Interleaved() {
  return {.mesh = {.pp = 2},
          .schedule = PipelineKind::kInterleaved,
          .layers_per_run = BalancedRuns(LlamaLike(Small()), 4)};
}
Layout Replicas(int zero) { return {.mesh = {.dp = 2}, .zero_stage = zero}; }
Layout Kept(Recompute recompute, Place place) {
  return {.micro_batch_rows = 2, .recompute = recompute, .activations = place};
}

Table LoraLayouts() {
  const Layout tp = {.mesh = {.tp = 2}, .sequence_parallel = true}, pp = {.mesh = {.pp = 2}};
  return {
      "LoRA, results/layouts.md",
      TaskOf(Small(), 256, 16),
      {{"one rank", {}, 11.279},
       {"pp 2, 1f1b", pp, 11.602},
       {"pp 2, interleaved, v 2", Interleaved(), 11.515},
       {"dp 2, ZeRO 1", Replicas(1), 10.766},
       {"dp 2, ZeRO 2", Replicas(2), 10.494},
       {"dp 2, ZeRO 3", Replicas(3), 11.389},
       {"dp 2, ZeRO 3, layer-major", LayerMajorly(Replicas(3)), 10.395},
       {"tp 2", tp, 10.155},
       {"layer-major", LayerMajorly({}), 11.110},
       {"layer-major, weights on the host", LayerMajorly({.frozen = FrozenPlace::kHost}), 11.244},
       {"layer-major, weights on disk", LayerMajorly({.frozen = FrozenPlace::kDisk}), 11.821}}};
}

Table FullLayouts() {
  Table table = LoraLayouts();
  table.name = "all weights, results/layouts.md";
  table.task.form.adapter.reset();
  table.task.form.train_base = true;
  constexpr double kSeconds[] = {17.415, 18.143, 17.905, 16.779, 19.410, 20.517, 17.538, 17.138};
  table.rows.resize(std::size(kSeconds));
  for (size_t i = 0; i < table.rows.size(); ++i) table.rows[i].seconds = kSeconds[i];
  return table;
}

Table KeptActivations() {
  LlamaShape shape = Small();
  shape.hidden_size = 768;
  shape.intermediate_size = 2048;
  shape.num_layers = 8;
  shape.num_heads = 12;
  shape.vocab_size = 2000;
  constexpr Place kDevice = Place::kDevice, kHost = Place::kHost;
  return {"recompute and activations, results/kept_activations.md",
          TaskOf(shape, 512, 2),
          {{"none, device", Kept(Recompute::kNone, kDevice), 0.983},
           {"smart, device", Kept(Recompute::kSmart, kDevice), 1.292},
           {"full, device", Kept(Recompute::kFull, kDevice), 1.331},
           {"none, host", Kept(Recompute::kNone, kHost), 1.019},
           {"smart, host", Kept(Recompute::kSmart, kHost), 1.258},
           {"full, host", Kept(Recompute::kFull, kHost), 1.296}}};
}

CpuRates Calibrated(const Table& table) {
  const Recorded& first = table.rows.front();
  const absl::StatusOr<CpuRates> rates =
      CalibrateCpu(table.task, first.layout, first.seconds, kCopy);
  FT_CHECK(rates.ok(), rates.status().ToString());
  return *rates;
}

// What a step takes where the rates that were chosen with these rows in sight, between ranks and of
// the disk, are `times` as fast.
double SecondsOf(const Task& task, const Layout& layout, const CpuRates& rates, double times) {
  Rig rig = CpuRig(rates, layout.mesh.world_size());
  rig.collective *= times;
  rig.neighbour *= times;
  rig.disk *= times;
  return TimeOf(task, layout, rig, CpuEfficiencies()).seconds;
}

bool IsFar(double ratio) { return ratio < 0.85 || ratio > 1.15; }

void Print(const Table& table, const CpuRates& rates) {
  std::printf("\n%s\n\n| layout | s a step | model | measured / model | |\n|---|---|---|---|---|\n",
              table.name);
  for (const Recorded& row : table.rows) {
    const double model = SecondsOf(table.task, row.layout, rates, 1);
    std::printf("| %s | %.3f | %.3f | %.2f | %s |\n", row.what, row.seconds, model,
                row.seconds / model, IsFar(row.seconds / model) ? "off" : "");
  }
}

// Rows within the goal, without the one that calibrates.
size_t CountNear(const std::vector<Table>& tables, const CpuRates& rates, double times) {
  size_t near = 0;
  for (const Table& table : tables) {
    for (const Recorded& row : table.rows) {
      near += IsFar(row.seconds / SecondsOf(table.task, row.layout, rates, times)) ? 0 : 1;
    }
  }
  return near - 1;
}

}  // namespace

void PrintRecorded() {
  const std::vector<Table> tables = {LoraLayouts(), FullLayouts(), KeptActivations()};
  const CpuRates rates = Calibrated(tables.front());
  std::printf("Products at %.0f GFLOP/s, by the first row\n", rates.gemm_flops / 1e9);
  size_t rows = 0;
  for (const Table& table : tables) {
    Print(table, rates);
    rows += table.rows.size();
  }
  std::printf(
      "\n%zu of the %zu other rows within 15 %%; with links and disk half as fast %zu, twice "
      "as fast %zu\n",
      CountNear(tables, rates, 1), rows - 1, CountNear(tables, rates, 0.5),
      CountNear(tables, rates, 2));
}

}  // namespace fttrain
