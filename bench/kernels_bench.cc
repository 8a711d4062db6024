// How fast are the fused kernels? Row kernels: bytes moved (operands read and written once, by
// formula) per second, as a share of a plain copy on the same device. Attention: on a CPU time
// against ATen's flash attention per document, on a GPU operations per second. Experts'
// products: together against each alone.
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
#include "model/matmul/grouped_gemm.h"

namespace fttrain {
namespace {

// What the row kernels work on; a GPU goes through several in turn.
struct RowTensors {
  RowTensors(int64_t rows, int64_t columns, const at::TensorOptions& options) {
    const int64_t heads = columns / 64, targets_count = rows / 16, vocab = 16 * columns;
    x = at::randn({rows, columns}, options), y = at::randn({rows, columns}, options);
    z = at::randn({rows, columns}, options), copy = at::empty_like(x);
    weight = at::randn({columns}, options);
    logits = at::randn({targets_count, vocab}, options);
    targets = at::arange(targets_count, options.dtype(at::kLong));
    lse = at::full({targets_count}, 10.0, options.dtype(at::kFloat));
    coefficients = at::zeros_like(lse);
    tokens = at::arange(rows, options.dtype(at::kLong));
    by_heads = x.view({rows, heads, 64});
    angles = at::randn({rows, 32}, options.dtype(at::kFloat));
    dweight = at::zeros({columns}, options.dtype(at::kFloat));
    accumulator = at::zeros({rows, columns}, options.dtype(at::kFloat));
  }
  at::Tensor x, y, z, copy, weight, logits, targets, lse, coefficients, tokens, by_heads, angles,
      dweight, accumulator;
};

void RowKernelsAgainstCopy(c10::Device device, at::ScalarType type) {
  using R = RowTensors;
  using at::Tensor;
  const int64_t rows = 2048, columns = device.is_cuda() ? 8192 : 2048;
  const auto options = at::TensorOptions(device).dtype(type);
  std::vector<R> sets{{rows, columns, options}};
  const double pass = static_cast<double>(sets[0].x.nbytes());
  while (static_cast<int>(sets.size()) < RotatingSets(device, pass)) {
    sets.emplace_back(rows, columns, options);
  }
  const auto seconds = [&](const std::function<Tensor(R&)>& body) {
    return Seconds(device, static_cast<int>(sets.size()),
                   [&](int set) { return body(sets[static_cast<size_t>(set)]); });
  };
  const double copy_rate = 2 * pass / seconds([](R& r) { return r.copy.copy_(r.x), Tensor(); });
  std::printf("%s %s: copy %.1f GB/s\n", device.str().c_str(), c10::toString(type),
              copy_rate * 1e-9);
  const auto report = [&](const char* name, double passes, const std::function<Tensor(R&)>& body) {
    const double rate = passes * pass / seconds(body);
    std::printf("  %-24s %7.1f GB/s  %.2f of copy\n", name, rate * 1e-9, rate / copy_rate);
  };
  const auto norm_backward = [](R& r, const Tensor& dweight) {
    return NormBackward(r.y, r.x, r.weight, 1e-5, r.z, dweight);
  };
  report("rms_norm", 2, [](R& r) { return NormForward(r.x, r.weight, 1e-5); });
  report("add_rms_norm", 4, [](R& r) { return AddNormForward(r.copy, r.x, r.weight, 1e-5); });
  report("rms_norm_backward", 4, [&](R& r) { return norm_backward(r, {}); });
  report("rms_norm_backward dw", 4, [&](R& r) { return norm_backward(r, r.dweight); });
  report("rope", 2, [](R& r) {
    return RopeInPlace(r.by_heads, r.angles, r.angles, r.tokens, false), Tensor();
  });
  report("swiglu", 3, [](R& r) { return GluForward(r.x, r.y); });
  report("swiglu_backward", 6, [](R& r) { return GluBackwardInPlace(r.y, r.copy, r.z, true); });
  report("dropout", 2, [&](R& r) { return Dropout(r.x, r.tokens, 0.05, {1, 2}, 0, columns); });
  report("cross_entropy_stats", 1, [](R& r) { return CrossEntropyStats(r.logits, r.targets, 0); });
  report("cross_entropy_backward", 2, [](R& r) {
    return CrossEntropyBackwardInPlace(r.logits, r.lse, r.targets, 0, r.coefficients), Tensor();
  });
  const double wide = 1.0 + 2.0 * sizeof(float) / static_cast<double>(sets[0].x.element_size());
  report("accumulate", wide, [](R& r) { return AccumulateInto(r.accumulator, r.x), Tensor(); });
}

std::vector<int32_t> DocumentsOf(int64_t documents, int64_t length) {
  std::vector<int32_t> cu_seqlens;
  for (int64_t d = 0; d <= documents; ++d) cu_seqlens.push_back(static_cast<int32_t>(d * length));
  return cu_seqlens;
}

// Alone: no other implementation is linked beside it.
void AttentionOnGpu(c10::Device device, int64_t tokens, int64_t length, int64_t heads,
                    int64_t kv_heads, int64_t dim) {
  struct Set {
    at::Tensor q, k, v, dout;
    AttentionResult result;
  };
  const auto options = at::TensorOptions(device).dtype(at::kBFloat16);
  const SequenceLayout layout = MakeSequenceLayout(DocumentsOf(tokens / length, length), device);
  const AttentionOptions attention{1.0 / std::sqrt(static_cast<double>(dim)), 0};
  const int count = RotatingSets(device, 2.0 * static_cast<double>(tokens * heads * dim));
  std::vector<Set> sets(static_cast<size_t>(count));
  for (Set& set : sets) {
    set.q = at::randn({tokens, heads, dim}, options), set.dout = at::randn_like(set.q);
    set.k = at::randn({tokens, kv_heads, dim}, options), set.v = at::randn_like(set.k);
    set.result = AttentionForward(set.q, set.k, set.v, layout, attention);
  }
  const double forward = Seconds(device, count, [&](int i) {
    const Set& set = sets[static_cast<size_t>(i)];
    return AttentionForward(set.q, set.k, set.v, layout, attention).out;
  });
  const double backward = Seconds(device, count, [&](int i) {
    const Set& set = sets[static_cast<size_t>(i)];
    return AttentionBackward(set.dout, set.q, set.k, set.v, set.result, layout, attention).dq;
  });
  const double flops = 2.0 * static_cast<double>(tokens * length * heads * dim);  // causal
  std::printf(
      "  %ld tokens, S %5ld, heads %ld/%ld, D %3ld: forward %7.3f ms (%4.0f TFLOP/s), backward "
      "%7.3f ms (%4.0f)\n",
      static_cast<long>(tokens), static_cast<long>(length), static_cast<long>(heads),
      static_cast<long>(kv_heads), static_cast<long>(dim), forward * 1e3, flops / forward * 1e-12,
      backward * 1e3, 2.5 * flops / backward * 1e-12);
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
  const SequenceLayout layout = MakeSequenceLayout(DocumentsOf(documents, length), at::kCPU);
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
  const auto seconds = [](const std::function<void()>& body) {
    return Seconds(at::kCPU, 1, [&](int) { return body(), at::Tensor(); });
  };
  const double ours[] = {
      seconds([&] { AttentionForward(q, k, v, layout, attention); }),
      seconds([&] { AttentionBackward(dout, q, k, v, result, layout, attention); })};
  const double theirs[] = {seconds([&] { aten.Forward(attention.scale); }),
                           seconds([&] { aten.Backward(attention.scale); })};
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

// Products of experts [out, in] with some rows each, a batch of them by grouped_gemm.h beside each
// alone: x W^T, or dy W.
struct ExpertsShape {
  int64_t experts, rows, in, out;
  bool backward = false;
};
void Experts(c10::Device device, at::ScalarType type, const ExpertsShape& shape) {
  const auto options = at::TensorOptions(device).dtype(type);
  std::vector<std::vector<ProductSum>> sums;
  for (int64_t e = 0; e < shape.experts; ++e) {
    const at::Tensor x = at::randn({shape.rows, shape.in}, options),
                     y = at::randn({shape.rows, shape.out}, options),
                     w = at::randn({shape.out, shape.in}, options);
    if (shape.backward) {
      sums.push_back({{x, {{y, w}}}});
    } else {
      sums.push_back({{y, {{x, w.t()}}}});
    }
  }
  const double together =
      Seconds(device, 1, [&](int) { return AddGroupedSums(sums), at::Tensor(); });
  const double alone = Seconds(device, 1, [&](int) {
    for (const auto& sum : sums) AddProductSums(sum);
    return at::Tensor();
  });
  const double flops = 2.0 * static_cast<double>(shape.experts * shape.rows * shape.in * shape.out);
  std::printf(
      "  %3ld experts [%4ld, %5ld] of %4ld rows, %s: together %8.3f ms (%8.3f TFLOP/s), each alone "
      "%8.3f ms (%8.3f)\n",
      static_cast<long>(shape.experts), static_cast<long>(shape.out), static_cast<long>(shape.in),
      static_cast<long>(shape.rows), shape.backward ? "dy W" : "x W^T", together * 1e3,
      flops / together * 1e-12, alone * 1e3, flops / alone * 1e-12);
}

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) {
  // Freed results stay in the heap: else the kernel's page faults are what is measured.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 2047 << 20);
  const c10::Device device = fttrain::BenchDevice(argc > 1 ? argv[1] : "cpu");
  if (argc > 2) at::set_num_threads(std::atoi(argv[2]));
  fttrain::RowKernelsAgainstCopy(device, at::kBFloat16);
  fttrain::RowKernelsAgainstCopy(device, at::kFloat);
  if (device.is_cuda()) {
    std::printf("attention, bfloat16\n");
    for (const int64_t tokens : {2048, 4096, 8192}) {
      fttrain::AttentionOnGpu(device, tokens, tokens, 32, 8, 128);
    }
    fttrain::AttentionOnGpu(device, 8192, 512, 32, 8, 128);
    fttrain::AttentionOnGpu(device, 4096, 4096, 64, 8, 128);
    std::printf("experts, bfloat16\n");
    for (const int64_t rows : {32, 128, 512}) {
      fttrain::Experts(device, at::kBFloat16, {2048 / rows, rows, 2048, 768});
    }
    return 0;
  }
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    std::printf("experts, %s, %d threads\n", at::toString(type), at::get_num_threads());
    for (const bool backward : {false, true}) {
      for (const int64_t rows : {64, 250}) {
        fttrain::Experts(device, type, {8, rows, 2048, 768, backward});
      }
    }
  }
  std::printf("attention, %d threads (ATen's keys and values already repeated per query head)\n",
              at::get_num_threads());
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const int64_t length : {64, 512, 2048}) {
      fttrain::AttentionAgainstAten(type, length, 16, 4, 64);
    }
    fttrain::AttentionAgainstAten(type, 1024, 8, 2, 128);
  }
}
