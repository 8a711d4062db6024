// What is built on a mesh of the whole test job: for tests under mpirun.
#pragma once

#include <c10/core/GradMode.h>

#include <string>
#include <utility>

#include "parallel/optimizer/optimizer.h"
#include "parallel/pipeline/executor.h"
#include "runtime/math/philox.h"
#include "tests/local_rows.h"
#include "tests/model/oracle.h"
#include "tests/model/tiny_llama.h"
#include "tests/test_mesh.h"

namespace fttrain {

inline ModelOptions Float64Options() {
  ModelOptions options;
  options.compute = at::kDouble;
  options.loss_chunk_rows = 3;
  return options;
}

// A part of the tiny model on a mesh of the whole job: the base of each test's rig, which declares
// the part's parameters.
struct PartOnMesh {
  explicit PartOnMesh(int tp, int ep = 1)
      : mesh(TestMesh(tp, /*pp=*/1, ep)), config(TinyLlama()), options(Float64Options()) {}
  // Gives all that is declared the oracle's values, and gradients of zero.
  void FillDeclared() {
    store = std::make_unique<ParameterStore>(set, *mesh, at::kCPU, StorageOptions{.zero_stage = 0});
    optimizer = std::make_unique<Optimizer>(*store, AdamWOptions{});
    params = SeededTensors(set);
    if (options.nf4) QuantizeValues(set, *options.nf4, params);
    CopyValues(set, params);
    optimizer->ZeroGradients();
  }
  OracleModel Oracle() const { return {config, options, params}; }
  SequenceRegion Region() const { return {mesh->tp(), options.sequence_parallel}; }
  // This rank's rows of an activation, as a copy.
  at::Tensor Local(const at::Tensor& whole) const {
    return LocalRows(Region(), whole.detach()).clone();
  }

  std::unique_ptr<Mesh> mesh;
  LlamaShape config;
  ModelOptions options;
  ParameterSet set;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<Optimizer> optimizer;
  NamedTensors params;
};

// A variation of the tiny model, named for the test report.
struct ModelVariant {
  std::string name;
  void (*apply)(LlamaShape&, ModelOptions&);
};
inline std::ostream& operator<<(std::ostream& out, const ModelVariant& variant) {
  return out << variant.name;
}

inline void UseLora(ModelOptions& options, std::vector<std::string> targets) {
  options.adapter = {.r = 4, .alpha = 6.0, .target_modules = {std::move(targets)}};
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
