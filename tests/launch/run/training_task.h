// What the tests under mpirun train, a tiny model in float64, and the layouts they train it in.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config/families/llama_shape.h"
#include "model/network/transformer.h"
#include "parallel/optimizer/optimizer.h"
#include "parallel/pipeline/schedules.h"

namespace fttrain {

constexpr int64_t kSequence = 24;  // tokens of a row

// 8 heads and 2 kv heads, a vocabulary that tp does not divide, a window in the second layer.
LlamaShape TinyShape(bool tied);
ModelSpec TinyModel(bool tied);

// What is trained, and on what. The same in every layout.
struct Task {
  bool full = false;
  bool tied = false;
  bool packing = true;
  int layers = 2;
  bool nf4 = false;  // with adapters
  int64_t rows_per_step = 16;
  double eps = 1e-8;
};

// How. What is computed does not depend on it.
struct Layout {
  int tp = 1;
  bool sequence_parallel = true;
  int zero_stage = 1;
  int64_t micro_batch_size = 1;
  PipelineKind pipeline = PipelineKind::kOneForwardOneBackward;
  int chunks = 1;
  std::vector<int> layers_per_run = {};
  Recompute recompute = Recompute::kNone;
  bool activations_on_host = false;
  FrozenPlace frozen = FrozenPlace::kDevice;
  StatePlace state = StatePlace::kDevice;
};

ModelSpec ModelOf(const Task& task);
// With adapters (with dropout, on every linear) unless all weights are trained.
ModelOptions Options(bool full);
// `stages`: of the pipeline, for runs of layers that the layout does not give.
ModelOptions OptionsOf(const Layout& layout, const Task& task, int stages);

}  // namespace fttrain
