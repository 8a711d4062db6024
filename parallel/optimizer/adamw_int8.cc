#include "parallel/optimizer/adamw_int8.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstring>

#include "parallel/optimizer/adamw_int8_cuda.h"
#include "parallel/optimizer/adamw_loops.h"
#include "parallel/optimizer/int8_loops.h"
#include "runtime/math/isa.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/on_cuda.h"

namespace fttrain {
namespace {

constexpr int64_t kGrainBlocks = 128;  // per task

// The block stays in the nearest cache between the loops.
template <typename Loops>
FT_ALWAYS_INLINE void UpdateBlock(const Int8Operands& o, int64_t block, const Int8Tables& tables,
                                  const AdamWCoefficients<float>& c) {
  const int64_t i = block * kInt8Block;
  float& exp_avg_absmax = o.exp_avg_absmax[block];
  float& exp_avg_sq_absmax = o.exp_avg_sq_absmax[block];
  alignas(64) float m[kInt8Block], v[kInt8Block];
  Loops::Dequantize(o.exp_avg + i, tables.exp_avg_map, exp_avg_absmax, m);
  Loops::Dequantize(o.exp_avg_sq + i, tables.exp_avg_sq_map, exp_avg_sq_absmax, v);
  UpdateLoop<float>(kInt8Block, o.param + i, o.grad + i, m, v, c);
  if (o.rounded != nullptr) RoundLoop(kInt8Block, o.param + i, o.rounded + i);
  exp_avg_absmax = Absmax(m);
  exp_avg_sq_absmax = Absmax(v);
  Loops::template Quantize<true>(m, tables.exp_avg_codes, Scale(exp_avg_absmax), o.exp_avg + i);
  Loops::template Quantize<false>(v, tables.exp_avg_sq_codes, Scale(exp_avg_sq_absmax),
                                  o.exp_avg_sq + i);
}

void UpdateBaseline(const Int8Operands& o, int64_t block, const Int8Tables& tables,
                    const AdamWCoefficients<float>& c) {
  UpdateBlock<PortableInt8Loops>(o, block, tables, c);
}
FT_TARGET_AVX2 void UpdateAvx2(const Int8Operands& o, int64_t block, const Int8Tables& tables,
                               const AdamWCoefficients<float>& c) {
  UpdateBlock<Avx2Int8Loops>(o, block, tables, c);
}

void UpdateOnCpu(const Int8Operands& operands, const Int8Tables& tables,
                 const AdamWCoefficients<float>& c) {
  if (IsRehearsal()) return;
  const auto update = Runs(Isa::kAvx2) ? UpdateAvx2 : UpdateBaseline;
  at::parallel_for(0, operands.blocks, kGrainBlocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) update(operands, block, tables, c);
  });
}

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
  const Int8Operands operands{param.data_ptr<float>(),
                              grad.const_data_ptr<float>(),
                              moments.exp_avg.data_ptr<uint8_t>(),
                              moments.exp_avg_sq.data_ptr<uint8_t>(),
                              moments.exp_avg_absmax.data_ptr<float>(),
                              moments.exp_avg_sq_absmax.data_ptr<float>(),
                              RoundedData(rounded),
                              param.numel() / kInt8Block};
  const AdamWCoefficients<float> coefficients(step);
  if (FT_ON_CUDA(param, AdamWInt8, operands, raw_tables, coefficients)) return;
  UpdateOnCpu(operands, *raw_tables, coefficients);
}

}  // namespace fttrain
