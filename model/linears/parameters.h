// The parameters of linears and norms on one rank of tensor parallelism, declared from their specs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/config/spec.h"
#include "model/linears/adapter.h"
#include "model/nf4/nf4.h"
#include "parallel/layout/param.h"

namespace fttrain {

// How a model's parameters are held; the same on every rank.
struct ParameterForm {
  at::ScalarType compute = at::kFloat;      // kFloat, kBFloat16, kDouble
  bool train_base = false;                  // full fine-tuning
  std::optional<AdapterForm> adapter = {};  // passes CheckAdapter
  // QLoRA: the layers' matrices are stored as NF4, but for the modules (full names:
  // model.layers.0.mlp.gate_proj, lm_head) of nf4_dense, which stay in compute dtype.
  std::optional<Nf4Options> nf4 = {};
  std::vector<std::string> nf4_dense = {};
  bool nf4_experts = true;  // experts too

  // How a matrix is stored: absent in compute dtype. Of a module that is no linear of a layer by
  // its name alone.
  std::optional<Nf4Options> Nf4Of(const LinearSpec& linear) const;
  std::optional<Nf4Options> Nf4Of(const std::string& module) const;
  // Of a linear, nothing without one.
  std::optional<LowRank> AdapterOf(const LinearSpec& linear) const;
};

// Of adapters' factors: float32, or float64 in float64 compute.
inline at::ScalarType FactorDtype(at::ScalarType compute) {
  return compute == at::kDouble ? at::kDouble : at::kFloat;
}

// A rank among those that share each matrix.
struct TensorRank {
  int rank = 0, size = 1;
};
inline TensorRank RankIn(const Communicator& tp) { return {tp.rank(), tp.size()}; }

// What a rank holds of a linear's split dimension. Throws c10::Error where the units do not divide
// (CheckTensorParallel refuses earlier with a message for users).
struct LinearSlice {
  Range range;
  bool shared = false;  // several ranks hold the same
};
LinearSlice SliceOf(const LinearSpec& spec, TensorRank tp);
// Of the weight of a norm over all heads.
LinearSlice SliceOf(const NormSpec& spec, TensorRank tp);

// The names of a linear's parameters: `name`.weight, `name`.bias, the adapter's factors; of a part
// of a module its rows of the module's (tensor_rows.h), but for factor A, which is the module's.
// One of a stack has what is its in the tensor of all.
struct LinearNames {
  explicit LinearNames(const LinearSpec& spec);
  std::string weight, bias;
  std::string a, b;  // of a plain linear: an expert's are FactorNames
};

// Weight, bias, and the adapter's factors if the form adapts the module. Column split: B sliced, A
// whole (kPartial); row split: A sliced, B whole (kPartial); whole: all of it (kPartial). An
// expert's are owned along ep. Parts of one module are declared in turn. Throws c10::Error for a
// trained matrix in NF4.
void DeclareLinear(const LinearSpec& spec, const ParameterForm& form, TensorRank tp,
                   ParameterSet& set);

// A norm's weight [size], trainable with the base, without weight decay; a rank's own part of one
// over all heads (`gradient` is then not read).
void DeclareNorm(const NormSpec& spec, AxisGradient gradient, const ParameterForm& form,
                 TensorRank tp, ParameterSet& set);

// A constant, whole and frozen whatever else is trained.
void DeclareConstant(const ConstantSpec& spec, const ParameterForm& form, ParameterSet& set);

// The sinks of an attention that has them [heads], a rank's own heads', trainable with the base.
void DeclareSinks(const AttentionSpec& spec, const ParameterForm& form, TensorRank tp,
                  ParameterSet& set);

}  // namespace fttrain
