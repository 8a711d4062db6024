#include "parallel/optimizer/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>

#include "parallel/optimizer/adamw_loops.h"
#include "runtime/math/isa.h"

namespace fttrain {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements per task: about 1 MB of traffic
constexpr int64_t kBlock = 512;      // elements rounded to bfloat16 while in the nearest cache

// Raw operands of an update.
template <typename T>
struct Operands {
  T* param;
  const T* grad;
  T* exp_avg;
  T* exp_avg_sq;
  Bf16* rounded;  // null: none
};

template <typename T>
FT_ALWAYS_INLINE void UpdateRange(const Operands<T>& o, int64_t begin, int64_t end,
                                  const AdamWCoefficients<T>& c) {
  const int64_t block = o.rounded == nullptr ? end - begin : kBlock;
  for (int64_t i = begin; i < end; i += block) {
    const int64_t n = std::min(block, end - i);
    UpdateLoop(n, o.param + i, o.grad + i, o.exp_avg + i, o.exp_avg_sq + i, c);
    if constexpr (std::is_same_v<T, float>) {
      if (o.rounded != nullptr) RoundLoop(n, o.param + i, o.rounded + i);
    }
  }
}

template <typename T>
void UpdateBaseline(const Operands<T>& o, int64_t begin, int64_t end,
                    const AdamWCoefficients<T>& c) {
  UpdateRange(o, begin, end, c);
}
template <typename T>
FT_TARGET_AVX2 void UpdateAvx2(const Operands<T>& o, int64_t begin, int64_t end,
                               const AdamWCoefficients<T>& c) {
  UpdateRange(o, begin, end, c);
}

template <typename T>
void UpdateOnCpu(const at::Tensor& param, const at::Tensor& grad, const at::Tensor& exp_avg,
                 const at::Tensor& exp_avg_sq, const at::Tensor& rounded, const AdamWStep& step) {
  const AdamWCoefficients<T> c(step);
  const Operands<T> o{param.data_ptr<T>(), grad.const_data_ptr<T>(), exp_avg.data_ptr<T>(),
                      exp_avg_sq.data_ptr<T>(), RoundedData(rounded)};
  const auto update = Runs(Isa::kAvx2) ? UpdateAvx2<T> : UpdateBaseline<T>;
  at::parallel_for(0, param.numel(), kGrain,
                   [&](int64_t begin, int64_t end) { update(o, begin, end, c); });
}

void CheckOperands(const at::Tensor& param, const at::Tensor& grad, const at::Tensor& exp_avg,
                   const at::Tensor& exp_avg_sq, const at::Tensor& rounded) {
  const auto dtype = param.scalar_type();
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble, "AdamW: param is ", dtype,
              ", not float32 or float64");
  for (const at::Tensor& other : {grad, exp_avg, exp_avg_sq}) {
    TORCH_CHECK(other.scalar_type() == dtype && other.numel() == param.numel() &&
                    other.is_contiguous() && param.is_contiguous(),
                "AdamW: ", other.sizes(), " ", other.scalar_type(), " beside param ", param.sizes(),
                " ", dtype);
  }
  TORCH_CHECK(
      !rounded.defined() || (dtype == at::kFloat && rounded.scalar_type() == at::kBFloat16 &&
                             rounded.numel() == param.numel() && rounded.is_contiguous()),
      "AdamW: the rounded copy must be bfloat16 of the size of a float32 param");
}

}  // namespace

void AdamWUpdate(at::Tensor param, at::Tensor grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                 at::Tensor rounded, const AdamWStep& step) {
  if (!param.device().is_cpu()) {
    AdamWUpdateAten(param, grad, exp_avg, exp_avg_sq, rounded, step);
    return;
  }
  CheckOperands(param, grad, exp_avg, exp_avg_sq, rounded);
  if (param.scalar_type() == at::kDouble) {
    UpdateOnCpu<double>(param, grad, exp_avg, exp_avg_sq, rounded, step);
  } else {
    UpdateOnCpu<float>(param, grad, exp_avg, exp_avg_sq, rounded, step);
  }
}

void AdamWUpdateAten(at::Tensor param, at::Tensor grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                     at::Tensor rounded, const AdamWStep& step) {
  CheckOperands(param, grad, exp_avg, exp_avg_sq, rounded);
  if (param.numel() == 0) return;
  // Not the kernel's own grad_scale: that one is a float32 divisor and writes the gradient back
  // too.
  if (step.grad_scale != 1.0) grad.mul_(step.grad_scale);
  const at::Tensor count =
      at::full({}, static_cast<double>(step.step), param.options().dtype(at::kFloat));
  at::_fused_adamw_({param}, {grad}, {exp_avg}, {exp_avg_sq}, {}, {count}, step.learning_rate,
                    step.beta1, step.beta2, step.weight_decay, step.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
  if (rounded.defined()) rounded.copy_(param);
}

}  // namespace fttrain
