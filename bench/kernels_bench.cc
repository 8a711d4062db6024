// How fast are the fused kernels? Row kernels: bytes moved (operands read and written once, by
// formula) per second, as a share of a plain copy on the same cores. Attention: time against ATen's
// flash attention per document.
//   kernels_bench [cpu|cuda] [threads]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "bench/seconds.h"
#include "model/kernels/attention.h"
#include "model/kernels/kernels.h"

namespace fttrain {
namespace {

void RowKernelsAgainstCopy(c10::Device device, at::ScalarType type) {
  const int64_t rows = 2048, columns = device.is_cuda() ? 8192 : 2048, vocab = 16 * columns;
  const auto options = at::TensorOptions(device).dtype(type);
  const at::Tensor x = at::randn({rows, columns}, options), y = at::randn({rows, columns}, options);
  const at::Tensor z = at::randn({rows, columns}, options), weight = at::randn({columns}, options);
  const at::Tensor logits = at::randn({rows / 16, vocab}, options);
  const at::Tensor targets = at::arange(rows / 16, options.dtype(at::kLong));
  const at::Tensor lse = at::full({rows / 16}, 10.0, options.dtype(at::kFloat));
  const at::Tensor coefficients = at::zeros_like(lse);
  const at::Tensor tokens = at::arange(rows, options.dtype(at::kLong));
  const at::Tensor heads = x.view({rows, columns / 64, 64});
  const at::Tensor angles = at::randn({rows, 32}, options.dtype(at::kFloat));
  at::Tensor dweight = at::zeros({columns}, options.dtype(at::kFloat));
  at::Tensor accumulator = at::zeros({rows, columns}, options.dtype(at::kFloat));
  const double pass = static_cast<double>(x.nbytes());
  at::Tensor copy = at::empty_like(x);
  const double copy_rate = 2 * pass / Seconds(device, [&] { copy.copy_(x); });
  std::printf("%s %s: copy %.1f GB/s\n", device.str().c_str(), c10::toString(type),
              copy_rate * 1e-9);
  const auto report = [&](const char* name, double passes, const std::function<void()>& body) {
    const double rate = passes * pass / Seconds(device, body);
    std::printf("  %-24s %7.1f GB/s  %.2f of copy\n", name, rate * 1e-9, rate / copy_rate);
  };
  report("rms_norm", 2, [&] { RmsNormForward(x, weight, 1e-5); });
  report("add_rms_norm", 4, [&] { AddRmsNormForward(copy, x, weight, 1e-5); });
  report("rms_norm_backward", 4, [&] { RmsNormBackward(y, x, weight, 1e-5, z, {}); });
  report("rms_norm_backward dw", 4, [&] { RmsNormBackward(y, x, weight, 1e-5, z, dweight); });
  report("rope", 2, [&] { RopeInPlace(heads, angles, angles, tokens, false); });
  report("swiglu", 3, [&] { SwiGluForward(x, y); });
  report("swiglu_backward", 6, [&] { SwiGluBackwardInPlace(y, copy, z, true); });
  report("dropout", 2, [&] { Dropout(x, tokens, 0.05, {1, 2}, 0, columns); });
  report("cross_entropy_stats", 1, [&] { CrossEntropyStats(logits, targets, 0); });
  report("cross_entropy_backward", 2,
         [&] { CrossEntropyBackwardInPlace(logits, lse, targets, 0, coefficients); });
  const double wide = 1.0 + 2.0 * sizeof(float) / static_cast<double>(x.element_size());
  report("accumulate", wide, [&] { AccumulateInto(accumulator, x); });
}

struct AtenAttention {
  at::Tensor q, k, v, dout, out, lse;
  void Forward(double scale) {
    std::tie(out, lse) =
        at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, true, std::nullopt, scale);
  }
  void Backward(double scale) {
    at::_scaled_dot_product_flash_attention_for_cpu_backward(dout, q, k, v, out, lse, 0.0, true,
                                                             std::nullopt, scale);
  }
};

void AttentionAgainstAten(at::ScalarType type, int64_t length, int64_t heads, int64_t kv_heads,
                          int64_t dim) {
  const auto options = at::TensorOptions().dtype(type);
  const int64_t documents = std::max<int64_t>(1, 2048 / length), tokens = documents * length;
  std::vector<int32_t> cu_seqlens;
  for (int64_t d = 0; d <= documents; ++d) cu_seqlens.push_back(static_cast<int32_t>(d * length));
  const SequenceLayout layout = MakeSequenceLayout(cu_seqlens, at::kCPU);
  const at::Tensor q = at::randn({tokens, heads, dim}, options), dout = at::randn_like(q);
  const at::Tensor k = at::randn({tokens, kv_heads, dim}, options), v = at::randn_like(k);
  const AttentionOptions attention{1.0 / std::sqrt(static_cast<double>(dim)), 0};
  const AttentionResult result = AttentionForward(q, k, v, layout, attention);
  const auto batched = [&](const at::Tensor& x) {
    return x.view({documents, length, x.size(1), dim}).transpose(1, 2);
  };
  const auto repeated = [&](const at::Tensor& x) {
    return batched(x).repeat_interleave(heads / kv_heads, 1);
  };
  AtenAttention aten{batched(q), repeated(k), repeated(v), batched(dout), {}, {}};
  const double ours[] = {
      Seconds(at::kCPU, [&] { AttentionForward(q, k, v, layout, attention); }),
      Seconds(at::kCPU, [&] { AttentionBackward(dout, q, k, v, result, layout, attention); })};
  const double theirs[] = {Seconds(at::kCPU, [&] { aten.Forward(attention.scale); }),
                           Seconds(at::kCPU, [&] { aten.Backward(attention.scale); })};
  // Causal: half of 2 (7 with the backward's 5) products of length^2 * dim multiply-adds.
  const double flops = 2.0 * static_cast<double>(tokens * length * heads * dim);
  std::printf(
      "  %-9s S %5ld, heads %ld/%ld, D %3ld: forward %7.2f ms (%5.0f GFLOP/s), backward %7.2f ms "
      "(%5.0f); ATen "
      "%7.2f, %7.2f ms; both %.2f times as fast\n",
      c10::toString(type), static_cast<long>(length), static_cast<long>(heads),
      static_cast<long>(kv_heads), static_cast<long>(dim), ours[0] * 1e3, flops / ours[0] * 1e-9,
      ours[1] * 1e3, 2.5 * flops / ours[1] * 1e-9, theirs[0] * 1e3, theirs[1] * 1e3,
      (theirs[0] + theirs[1]) / (ours[0] + ours[1]));
}

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) {
  // Freed results stay in the heap: else the kernel's page faults are what is measured.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  const c10::Device device(argc > 1 ? argv[1] : "cpu");
  if (argc > 2) at::set_num_threads(std::atoi(argv[2]));
  fttrain::RowKernelsAgainstCopy(device, at::kBFloat16);
  fttrain::RowKernelsAgainstCopy(device, at::kFloat);
  if (device.is_cuda()) return 0;
  std::printf("attention, %d threads (ATen's keys and values already repeated per query head)\n",
              at::get_num_threads());
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const int64_t length : {64, 512, 2048}) {
      fttrain::AttentionAgainstAten(type, length, 16, 4, 64);
    }
    fttrain::AttentionAgainstAten(type, 1024, 8, 2, 128);
  }
}
