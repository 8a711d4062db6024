#include "parallel/optimizer/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>

#include "parallel/optimizer/adamw_cuda.h"
#include "parallel/optimizer/adamw_loops.h"
#include "runtime/math/isa.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/on_cuda.h"

namespace fttrain {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements per task: about 1 MB of traffic
constexpr int64_t kBlock = 512;      // elements rounded to bfloat16 while in the nearest cache

template <typename T>
FT_ALWAYS_INLINE void UpdateRange(const AdamWOperands<T>& o, int64_t begin, int64_t end,
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
void UpdateBaseline(const AdamWOperands<T>& o, int64_t begin, int64_t end,
                    const AdamWCoefficients<T>& c) {
  UpdateRange(o, begin, end, c);
}
template <typename T>
FT_TARGET_AVX2 void UpdateAvx2(const AdamWOperands<T>& o, int64_t begin, int64_t end,
                               const AdamWCoefficients<T>& c) {
  UpdateRange(o, begin, end, c);
}

template <typename T>
void UpdateOnCpu(const AdamWOperands<T>& o, const AdamWCoefficients<T>& c) {
  if (IsRehearsal()) return;
  const auto update = Runs(Isa::kAvx2) ? UpdateAvx2<T> : UpdateBaseline<T>;
  at::parallel_for(0, o.n, kGrain, [&](int64_t begin, int64_t end) { update(o, begin, end, c); });
}

template <typename T>
void Update(const at::Tensor& param, const at::Tensor& grad, const at::Tensor& exp_avg,
            const at::Tensor& exp_avg_sq, const at::Tensor& rounded, const AdamWStep& step) {
  const AdamWCoefficients<T> c(step);
  const AdamWOperands<T> o{param.data_ptr<T>(),   grad.const_data_ptr<T>(),
                           exp_avg.data_ptr<T>(), exp_avg_sq.data_ptr<T>(),
                           RoundedData(rounded),  param.numel()};
  if (FT_ON_CUDA(param, AdamW<T>, o, c)) return;
  UpdateOnCpu(o, c);
}

void CheckOperands(const at::Tensor& param, const at::Tensor& grad, const at::Tensor& exp_avg,
                   const at::Tensor& exp_avg_sq, const at::Tensor& rounded) {
  const auto dtype = param.scalar_type();
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble, "AdamW: param is ", dtype,
              ", not float32 or float64");
  for (const at::Tensor& other : {grad, exp_avg, exp_avg_sq}) {
    TORCH_CHECK(other.scalar_type() == dtype && other.numel() == param.numel() &&
                    other.is_contiguous() && param.is_contiguous() &&
                    other.device() == param.device(),
                "AdamW: ", other.sizes(), " ", other.toString(), " beside param ", param.sizes(),
                " ", param.toString());
  }
  TORCH_CHECK(
      !rounded.defined() || (dtype == at::kFloat && rounded.scalar_type() == at::kBFloat16 &&
                             rounded.numel() == param.numel() && rounded.is_contiguous() &&
                             rounded.device() == param.device()),
      "AdamW: the rounded copy must be bfloat16 of the size and device of a float32 param");
}

}  // namespace

void AdamWUpdate(at::Tensor param, at::Tensor grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                 at::Tensor rounded, const AdamWStep& step) {
  CheckOperands(param, grad, exp_avg, exp_avg_sq, rounded);
  const auto update = param.scalar_type() == at::kDouble ? Update<double> : Update<float>;
  update(param, grad, exp_avg, exp_avg_sq, rounded, step);
}

}  // namespace fttrain
