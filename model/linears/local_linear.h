// This rank's slice of a linear layer, dense (frozen or trainable) or NF4 (frozen), with an
// optional low-rank adapter (LoRA, Hu et al., arXiv:2106.09685; rsLoRA scale, arXiv:2312.03732;
// over NF4: QLoRA, arXiv:2305.14314). It never communicates.
#pragma once

#include <optional>
#include <string>

#include "model/config/spec.h"
#include "model/kernels/kernels.h"
#include "model/matmul/weight_matrix.h"

namespace fttrain {

struct LoraOptions {
  int64_t r = 16;
  double alpha = 32.0;
  double dropout = 0.0;
  bool use_rslora = false;
  double Scale() const;  // alpha / r, or alpha / sqrt(r)
};

// A linear's slice on a tensor-parallel rank. Column split: A whole (kPartial), B sliced; row
// split: A sliced, B whole (kPartial).
struct LinearSlice {
  std::string name;         // as LinearSpec
  int64_t in = 0, out = 0;  // global
  LinearSplit split = LinearSplit::kColumn;
  Range range;                   // of the split dimension; the whole of it on one rank
  bool shared = false;           // the slice is held by several tp ranks (kv heads < tp)
  bool tensor_parallel = false;  // tp > 1
  bool bias = false;
  bool add_bias = true;           // row split: only tp rank 0 adds the bias to its partial sum
  std::optional<Nf4Options> nf4;  // the weight's storage; absent: compute dtype
  Nf4Ahead* ahead = nullptr;      // see Operand
};

// What a dropout mask depends on. Undefined token_index or p = 0: no dropout (evaluation).
struct DropoutContext {
  uint64_t step_key = 0;   // StepKey(seed, step)
  at::Tensor token_index;  // int64 [T], layout-independent id of each token within the step
};

class LocalLinear {
 public:
  // Declares `name.weight` (and `name.bias`) and, with `lora`,
  // base_model.model.<name>.lora_A.weight [r, in] and lora_B.weight [out, r] (float32, or float64
  // in float64 compute; trainable). `train_base`: weight and bias are trainable; not with NF4.
  LocalLinear(const LinearSlice& spec, at::ScalarType compute, bool train_base,
              const LoraOptions* lora, ParameterSet& set);

  // x [T, in_local] -> x W^T + b + s dropout(x) A^T B^T, [T, out_local].
  at::Tensor Forward(const at::Tensor& x, const DropoutContext& dropout) const;

  // dx = dy W + adapter, added to `dx` if it is defined, else stored there. Returns s * dy B [T, r]
  // (undefined without an adapter; float32 where products are formed so) for BackwardParams.
  at::Tensor BackwardInput(const at::Tensor& dy, const DropoutContext& dropout,
                           at::Tensor& dx) const;
  // Adds to the gradients of whatever is trainable. x as given to Forward.
  void BackwardParams(const at::Tensor& dy, const at::Tensor& dlow, const at::Tensor& x,
                      const DropoutContext& dropout) const;
  // Whether BackwardParams needs x (false: frozen without adapter).
  bool HasTrainable() const { return train_base_ || lora_a_ != nullptr; }
  // An NF4 weight is dequantised once, for every call until it is released (WeightMatrix::Hold).
  void HoldWeight() { weight_.Hold(); }
  void ReleaseWeight() { weight_.Release(); }

 private:
  friend class LinearGroup;
  bool Drops(const DropoutContext& dropout) const;
  // The adapter's input: x under this module's mask, or x itself. Also its transpose, for the
  // gradient.
  at::Tensor Dropped(const at::Tensor& x, const DropoutContext& dropout) const;

  LinearSlice spec_;
  bool train_base_;
  LoraOptions lora_;
  WeightMatrix weight_;
  Parameter* bias_ = nullptr;
  Parameter* lora_a_ = nullptr;
  Parameter* lora_b_ = nullptr;
};

// A: kaiming uniform (a = sqrt 5: U(-1/sqrt(in), 1/sqrt(in))), B: zero, as PEFT initialises them.
// Element values depend on (seed, tensor name, global index) alone. Touches only lora_A / lora_B of
// `parameters`.
void InitializeAdapters(const std::vector<Parameter*>& parameters, uint64_t seed);

}  // namespace fttrain
