// Compiled with -O3 -ffp-contract=off (CMakeLists.txt), as adamw.cc and for its reasons.
#include "parallel/optimizer/adamw_int8.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>

#include "parallel/optimizer/int8_loops.h"
#include "parallel/optimizer/int8_tables.h"
#include "runtime/math/bf16.h"
#include "runtime/math/isa.h"
#if defined(FTTRAIN_WITH_CUDA)
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "parallel/optimizer/adamw_int8_cuda.h"
#endif

namespace fttrain {
namespace {

constexpr int64_t kGrainBlocks = 128;  // per task

// The operands of one block.
struct BlockOperands {
  float* __restrict param;
  const float* __restrict grad;
  uint8_t* __restrict exp_avg;
  uint8_t* __restrict exp_avg_sq;
  float* exp_avg_absmax;
  float* exp_avg_sq_absmax;
  Bf16* __restrict rounded;  // null: none
};

FT_ALWAYS_INLINE void UpdateMoments(float* __restrict param, const float* __restrict grad,
                                    float* __restrict m, float* __restrict v,
                                    const AdamWCoefficients<float> c) {
  for (int64_t i = 0; i < kInt8Block; ++i) {
    const AdamWElement<float> updated =
        AdamWUpdated(AdamWElement<float>{param[i], m[i], v[i]}, grad[i], c);
    param[i] = updated.param;
    m[i] = updated.exp_avg;
    v[i] = updated.exp_avg_sq;
  }
}

// The block stays in the nearest cache between the loops.
template <typename Loops>
FT_ALWAYS_INLINE void UpdateBlock(const BlockOperands& o, const Int8Tables& tables,
                                  const AdamWCoefficients<float>& c) {
  alignas(64) float m[kInt8Block], v[kInt8Block];
  Loops::Dequantize(o.exp_avg, tables.exp_avg_map, *o.exp_avg_absmax, m);
  Loops::Dequantize(o.exp_avg_sq, tables.exp_avg_sq_map, *o.exp_avg_sq_absmax, v);
  UpdateMoments(o.param, o.grad, m, v, c);
  if (o.rounded != nullptr) {
    for (int64_t i = 0; i < kInt8Block; ++i) o.rounded[i] = Bf16FromFloat(o.param[i]);
  }
  *o.exp_avg_absmax = Absmax(m);
  *o.exp_avg_sq_absmax = Absmax(v);
  Loops::template Quantize<true>(m, tables.exp_avg_codes, Scale(*o.exp_avg_absmax), o.exp_avg);
  Loops::template Quantize<false>(v, tables.exp_avg_sq_codes, Scale(*o.exp_avg_sq_absmax),
                                  o.exp_avg_sq);
}

void UpdateBaseline(const BlockOperands& o, const Int8Tables& tables,
                    const AdamWCoefficients<float>& c) {
  UpdateBlock<PortableInt8Loops>(o, tables, c);
}
FT_TARGET_AVX2 void UpdateAvx2(const BlockOperands& o, const Int8Tables& tables,
                               const AdamWCoefficients<float>& c) {
  UpdateBlock<Avx2Int8Loops>(o, tables, c);
}

Bf16* RoundedData(const at::Tensor& rounded) {
  return rounded.defined() ? reinterpret_cast<Bf16*>(rounded.data_ptr<at::BFloat16>()) : nullptr;
}

void UpdateOnCpu(const at::Tensor& param, const at::Tensor& grad, const Int8Moments& moments,
                 const at::Tensor& rounded, const Int8Tables& tables, const AdamWStep& step) {
  const AdamWCoefficients<float> c(step);
  const BlockOperands all{param.data_ptr<float>(),
                          grad.const_data_ptr<float>(),
                          moments.exp_avg.data_ptr<uint8_t>(),
                          moments.exp_avg_sq.data_ptr<uint8_t>(),
                          moments.exp_avg_absmax.data_ptr<float>(),
                          moments.exp_avg_sq_absmax.data_ptr<float>(),
                          RoundedData(rounded)};
  const auto update = Runs(Isa::kAvx2) ? UpdateAvx2 : UpdateBaseline;
  at::parallel_for(0, param.numel() / kInt8Block, kGrainBlocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i = block * kInt8Block;
      update({all.param + i, all.grad + i, all.exp_avg + i, all.exp_avg_sq + i,
              all.exp_avg_absmax + block, all.exp_avg_sq_absmax + block,
              all.rounded == nullptr ? nullptr : all.rounded + i},
             tables, c);
    }
  });
}

#if defined(FTTRAIN_WITH_CUDA)
void UpdateOnCuda(const at::Tensor& param, const at::Tensor& grad, const Int8Moments& moments,
                  const at::Tensor& rounded, const Int8Tables* tables, const AdamWStep& step) {
  const c10::cuda::CUDAGuard guard(param.device());
  cuda::AdamWInt8(
      {param.data_ptr<float>(), grad.const_data_ptr<float>(), moments.exp_avg.data_ptr<uint8_t>(),
       moments.exp_avg_sq.data_ptr<uint8_t>(), moments.exp_avg_absmax.data_ptr<float>(),
       moments.exp_avg_sq_absmax.data_ptr<float>(), RoundedData(rounded),
       param.numel() / kInt8Block},
      tables, AdamWCoefficients<float>(step),
      c10::cuda::getCurrentCUDAStream(param.get_device()).stream());
}
#endif

void CheckOperand(const char* what, const at::Tensor& operand, at::ScalarType dtype, int64_t numel,
                  const at::Tensor& param) {
  TORCH_CHECK(operand.scalar_type() == dtype && operand.numel() == numel &&
                  operand.is_contiguous() && operand.device() == param.device(),
              "AdamW, int8: ", what, " is ", operand.toString(), " ", operand.sizes(),
              "; want contiguous ", dtype, " [", numel, "] on ", param.device());
}

void CheckOperands(const at::Tensor& param, const at::Tensor& grad, const Int8Moments& moments,
                   const at::Tensor& rounded, const at::Tensor& tables) {
  const int64_t n = param.numel();
  TORCH_CHECK(n % kInt8Block == 0, "AdamW, int8: ", n, " elements are no multiple of ", kInt8Block);
  CheckOperand("param", param, at::kFloat, n, param);
  CheckOperand("grad", grad, at::kFloat, n, param);
  CheckOperand("exp_avg", moments.exp_avg, at::kByte, n, param);
  CheckOperand("exp_avg_sq", moments.exp_avg_sq, at::kByte, n, param);
  CheckOperand("exp_avg_absmax", moments.exp_avg_absmax, at::kFloat, n / kInt8Block, param);
  CheckOperand("exp_avg_sq_absmax", moments.exp_avg_sq_absmax, at::kFloat, n / kInt8Block, param);
  if (rounded.defined()) CheckOperand("the rounded copy", rounded, at::kBFloat16, n, param);
  CheckOperand("tables", tables, at::kByte, sizeof(Int8Tables), param);
}

}  // namespace

Int8Moments Int8Moments::Narrow(int64_t begin, int64_t n) const {
  TORCH_CHECK(begin % kInt8Block == 0 && n % kInt8Block == 0, "int8 moments: [", begin, ", ",
              begin + n, ") cuts a block of ", kInt8Block);
  const auto scales = [&](const at::Tensor& absmax) {
    return absmax.narrow(0, begin / kInt8Block, n / kInt8Block);
  };
  return {exp_avg.narrow(0, begin, n), exp_avg_sq.narrow(0, begin, n), scales(exp_avg_absmax),
          scales(exp_avg_sq_absmax)};
}

Int8Moments ZeroInt8Moments(int64_t n, c10::Device device) {
  const auto codes = at::TensorOptions().dtype(at::kByte).device(device);
  const auto scales = codes.dtype(at::kFloat);
  return {at::zeros({n}, codes), at::zeros({n}, codes), at::zeros({n / kInt8Block}, scales),
          at::zeros({n / kInt8Block}, scales)};
}

at::Tensor MakeInt8Tables(c10::Device device) {
  at::Tensor tables = at::empty({sizeof(Int8Tables)}, at::kByte);
  memcpy(tables.data_ptr(), &HostInt8Tables(), sizeof(Int8Tables));
  return tables.to(device);
}

void AdamWInt8Update(at::Tensor param, at::Tensor grad, const Int8Moments& moments,
                     at::Tensor rounded, const at::Tensor& tables, const AdamWStep& step) {
  CheckOperands(param, grad, moments, rounded, tables);
  const auto* raw_tables = reinterpret_cast<const Int8Tables*>(tables.const_data_ptr());
  if (param.device().is_cpu()) return UpdateOnCpu(param, grad, moments, rounded, *raw_tables, step);
#if defined(FTTRAIN_WITH_CUDA)
  if (param.is_cuda()) return UpdateOnCuda(param, grad, moments, rounded, raw_tables, step);
#endif
  TORCH_CHECK(false, "AdamW, int8: no update for tensors on ", param.device());
}

}  // namespace fttrain
