#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "model/nf4/dispatch.h"
#include "model/nf4/nf4.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/math/dynamic_map.h"
#include "runtime/process/on_cuda.h"

namespace fttrain {
namespace {

// `count` codes from place `source_first` of `source` to place `first` of `to`; the other half of a
// byte at either end is kept.
void CopyCodes(const uint8_t* source, int64_t source_first, int64_t count, uint8_t* to,
               int64_t first) {
  const auto copy_one = [&](int64_t i) {
    const int64_t s = source_first + i, t = first + i;
    const int code = source[s / 2] >> (s % 2 == 0 ? 4 : 0) & 15;
    uint8_t& byte = to[t / 2];
    byte = static_cast<uint8_t>(t % 2 == 0 ? code << 4 | (byte & 15) : (byte & 0xf0) | code);
  };
  int64_t i = 0;
  if (first % 2 != 0 && count > 0) copy_one(i++);
  const int64_t whole = (count - i) / 2;
  const uint8_t* s = source + (source_first + i) / 2;
  uint8_t* t = to + (first + i) / 2;
  if ((source_first + i) % 2 == 0) {
    std::memcpy(t, s, static_cast<size_t>(whole));
  } else {
    for (int64_t b = 0; b < whole; ++b) t[b] = static_cast<uint8_t>(s[b] << 4 | s[b + 1] >> 4);
  }
  for (i += 2 * whole; i < count; ++i) copy_one(i);
}

void StoreCodesOnCpu(const Nf4Matrix& slice, int64_t first_element, int64_t count,
                     const uint8_t* codes) {
  const Nf4Layout& layout = slice.layout;
  auto* to = slice.bytes.mutable_data_ptr<uint8_t>();
  const auto copy_runs = [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      const int64_t run_begin = layout.RunBegin(run);
      const int64_t from = std::max(first_element, run_begin);
      const int64_t until = std::min(first_element + count, run_begin + layout.run_elements);
      if (from >= until) continue;
      CopyCodes(codes, from - first_element, until - from, to,
                run * layout.run_elements + from - run_begin);
    }
  };
  // The runs that the piece touches.
  const int64_t stride = std::max<int64_t>(1, layout.whole_columns);
  const int64_t before = first_element - layout.first_element - layout.run_elements;
  const int64_t after = first_element + count - layout.first_element;
  const int64_t begin = std::clamp<int64_t>(layout.runs == 1 ? 0 : before / stride, 0, layout.runs);
  const int64_t end =
      std::clamp<int64_t>(layout.runs == 1 ? 1 : CeilDivide(after, stride), 0, layout.runs);
  if (layout.run_elements % 2 != 0) return copy_runs(begin, end);  // runs share bytes
  at::parallel_for(begin, end, std::max<int64_t>(1, (1 << 17) / layout.run_elements), copy_runs);
}

// Copies the scales of the blocks that each run touches from those of the whole matrix.
template <class T>
void CopyScales(const Nf4Layout& layout, const T* whole, T* scales) {
  const int64_t block_size = layout.options.block_size;
  for (int64_t run = 0; run < layout.runs; ++run) {
    const int64_t begin = layout.RunBegin(run), end = begin + layout.run_elements;
    const int64_t block = begin / block_size, count = (end - 1) / block_size - block + 1;
    std::copy_n(whole + block, count, scales + run * layout.blocks_per_run);
  }
}

// fill(bytes of everything from the scales on) on the CPU, then to where the slice lies.
template <class Fill>
void StoreScaleBytes(const Nf4Matrix& slice, const Fill& fill) {
  const int64_t begin = slice.layout.scales_begin, size = slice.layout.bytes - begin;
  const at::Tensor part = slice.bytes.narrow(0, begin, size);
  const at::Tensor host = at::zeros({size}, at::TensorOptions(at::kByte));
  fill(host.mutable_data_ptr<uint8_t>());
  part.copy_(host);
}

int64_t WholeBlocks(const Nf4Layout& layout) {
  return CeilDivide(layout.whole_elements, layout.options.block_size);
}

}  // namespace

float AbsmaxOffset(const at::Tensor& absmax) {
  // ATen splits a sum over the calling thread's number of OpenMP threads; at::set_num_threads would
  // change it for others too.
  const absl::Cleanup restore = [before = at::get_num_threads()] { omp_set_num_threads(before); };
  omp_set_num_threads(1);
  return absmax.mean().item<float>();
}

void QuantizeNf4Blocks(const at::Tensor& values, int64_t block_size, const at::Tensor& codes,
                       const at::Tensor& absmax) {
  const int64_t count = values.numel(), blocks = CeilDivide(count, block_size);
  const Dtype type = DtypeOf(values.scalar_type());
  TORCH_CHECK(type != Dtype::kFloat64 && values.is_contiguous(),
              "QuantizeNf4Blocks: want contiguous float32, bfloat16 or float16, got ",
              values.toString(), " with strides ", values.strides());
  TORCH_CHECK(IsNf4BlockSize(block_size),
              "QuantizeNf4Blocks: blocks of 32, 64, ... 4096 elements, not ", block_size);
  CheckNf4Operand("QuantizeNf4Blocks' codes", codes, at::kByte, (count + 1) / 2, values.device());
  CheckNf4Operand("QuantizeNf4Blocks' absmax", absmax, at::kFloat, blocks, values.device());
  if (count == 0) return;
  const auto* from = static_cast<const char*>(values.const_data_ptr());
  auto* to = codes.mutable_data_ptr<uint8_t>();
  auto* scales = absmax.mutable_data_ptr<float>();
  if (FT_ON_CUDA(values, QuantizeNf4Blocks, type, from, count, block_size, to, scales)) return;
  const int64_t size = values.element_size();
  at::parallel_for(0, blocks, (1 << 15) / block_size, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * block_size;
    SelectedNf4Kernels().quantize(from + first * size, type,
                                  std::min(count, end * block_size) - first, block_size,
                                  to + first / 2, scales + begin);
  });
}

Nf4Scales QuantizeAbsmax(const at::Tensor& absmax) {
  const int64_t blocks = absmax.numel(), groups = CeilDivide(blocks, kNf4Group);
  CheckNf4Operand("QuantizeAbsmax", absmax, at::kFloat, blocks, at::kCPU);
  TORCH_CHECK(blocks > 0, "QuantizeAbsmax: no blocks");
  Nf4Scales scales;
  scales.codes = at::empty({blocks}, at::TensorOptions(at::kByte));
  scales.groups = at::empty({groups}, at::TensorOptions(at::kFloat));
  scales.offset = AbsmaxOffset(absmax);
  TORCH_CHECK(std::isfinite(scales.offset), "QuantizeAbsmax: the mean of the blocks' scales is ",
              scales.offset, ": values are not finite, or their sum is beyond float32");
  const auto* from = absmax.const_data_ptr<float>();
  auto* codes = scales.codes.mutable_data_ptr<uint8_t>();
  auto* group_absmax = scales.groups.mutable_data_ptr<float>();
  const std::array<float, 256> thresholds = DynamicThresholds(SignedDynamicMap());
  at::parallel_for(0, groups, 8, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * kNf4Group;
      group_absmax[group] =
          SelectedNf4Kernels().encode_group(from + first, std::min(kNf4Group, blocks - first),
                                            scales.offset, thresholds.data(), codes + first);
    }
  });
  return scales;
}

void StoreNf4Codes(const Nf4Matrix& slice, int64_t first_element, int64_t count,
                   const at::Tensor& codes) {
  const Nf4Layout& layout = slice.layout;
  CheckNf4Matrix("StoreNf4Codes", slice);
  CheckNf4Operand("StoreNf4Codes", codes, at::kByte, (count + 1) / 2, slice.bytes.device());
  TORCH_CHECK(first_element >= 0 && first_element % 2 == 0 &&
                  first_element + count <= layout.whole_elements,
              "StoreNf4Codes: elements ", first_element, " + ", count, " of ",
              layout.whole_elements, ", from an even one");
  if (count == 0 || layout.elements() == 0) return;
  const auto* from = codes.const_data_ptr<uint8_t>();
  if (FT_ON_CUDA(slice.bytes, StoreNf4Codes, from, first_element, count,
                 {layout.runs, layout.run_elements, layout.first_element, layout.whole_columns},
                 slice.bytes.mutable_data_ptr<uint8_t>())) {
    return;
  }
  StoreCodesOnCpu(slice, first_element, count, from);
}

void StoreNf4Absmax(const Nf4Matrix& slice, const at::Tensor& absmax) {
  const Nf4Layout& layout = slice.layout;
  CheckNf4Matrix("StoreNf4Absmax", slice);
  TORCH_CHECK(!layout.options.double_quant, "StoreNf4Absmax: the slice's scales have 8 bits");
  const at::Tensor whole = absmax.cpu();
  CheckNf4Operand("StoreNf4Absmax", whole, at::kFloat, WholeBlocks(layout), at::kCPU);
  if (layout.elements() == 0) return;
  StoreScaleBytes(slice, [&](uint8_t* bytes) {
    CopyScales(layout, whole.const_data_ptr<float>(), reinterpret_cast<float*>(bytes));
  });
}

void StoreNf4Scales(const Nf4Matrix& slice, const Nf4Scales& scales) {
  const Nf4Layout& layout = slice.layout;
  if (!layout.options.double_quant) return StoreNf4Absmax(slice, scales.codes);
  CheckNf4Matrix("StoreNf4Scales", slice);
  const int64_t blocks = WholeBlocks(layout);
  CheckNf4Operand("StoreNf4Scales' codes", scales.codes, at::kByte, blocks, at::kCPU);
  CheckNf4Operand("StoreNf4Scales' groups", scales.groups, at::kFloat,
                  CeilDivide(blocks, kNf4Group), at::kCPU);
  if (layout.elements() == 0) return;
  StoreScaleBytes(slice, [&](uint8_t* bytes) {
    CopyScales(layout, scales.codes.const_data_ptr<uint8_t>(), bytes);
    std::memcpy(bytes + layout.groups_begin - layout.scales_begin,
                scales.groups.const_data_ptr<float>() + layout.first_group,
                static_cast<size_t>(layout.groups) * sizeof(float));
    std::memcpy(bytes + layout.offset_begin - layout.scales_begin, &scales.offset, sizeof(float));
  });
}

}  // namespace fttrain
