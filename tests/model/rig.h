// A mesh of the whole test job and what is built on it: for tests under mpirun.
#pragma once

#include <c10/core/GradMode.h>

#include <memory>
#include <string>
#include <utility>

#include "parallel/optimizer/optimizer.h"
#include "parallel/pipeline/executor.h"
#include "runtime/math/philox.h"
#include "tests/model/oracle.h"
#include "tests/mpi_test_main.h"

namespace fttrain {

// tp ranks of tensor parallelism, the rest data parallel. Collective over the world.
inline std::unique_ptr<Mesh> TestMesh(int tp) {
  const auto shape = MakeMeshShape(TestProcess().world_size(), tp, /*pp=*/1);
  TORCH_CHECK(shape.ok(), shape.status().ToString());
  auto mesh = Mesh::Create(CommBackend::kMpi, TestProcess(), *shape);
  TORCH_CHECK(mesh.ok(), mesh.status().ToString());
  return *std::move(mesh);
}

// Two layers' worth of every shape trap: grouped heads (2 kv heads, fewer than 4 tp ranks),
// head_dim that is not hidden / heads, a vocabulary that neither 2 nor 4 ranks divide.
inline LlamaShape TinyConfig() {
  LlamaShape config;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 10;
  config.vocab_size = 37;
  config.max_position_embeddings = 64;
  config.rms_norm_eps = 1e-5;
  config.layer_windows = {0, 0};
  return config;
}

inline ModelOptions Float64Options() {
  ModelOptions options;
  options.compute = at::kDouble;
  options.loss_chunk_rows = 3;
  return options;
}

// A variation of the tiny model, named for the test report.
struct ModelVariant {
  std::string name;
  void (*apply)(LlamaShape&, ModelOptions&);
};
inline std::ostream& operator<<(std::ostream& out, const ModelVariant& variant) {
  return out << variant.name;
}

inline void UseLora(ModelOptions& options, std::vector<std::string> targets) {
  options.adapter = {.r = 4, .alpha = 6.0, .target_modules = std::move(targets)};
}
inline void UseNf4(ModelOptions& options, Nf4Options nf4 = {},
                   std::vector<std::string> dense = {"lm_head"}) {
  options.nf4 = nf4;
  options.nf4_dense = std::move(dense);
}
inline const std::vector<std::string>& AllLinear() {
  static const std::vector<std::string> kAll = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                "gate_proj", "up_proj", "down_proj"};
  return kAll;
}

// Three documents of 5, 4 and 3 tokens, in training.
inline MicrobatchContext PackedContext() {
  MicrobatchContext context;
  context.layout = MakeSequenceLayout({0, 5, 9, 12}, at::kCPU);
  context.dropout = {StepKey(9, 4), at::arange(12, at::kLong) * 3 + 100};
  return context;
}

}  // namespace fttrain
