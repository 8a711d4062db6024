// How close does an AdamW step come to memory bandwidth?
//   optimizer_step_bench [millions of parameters, default 135] [threads, default 1] [cpu|cuda]
// Prints the median step (bench/seconds.h) for this project's loops (moments in float32 and in 8
// bits), for ATen's fused kernel, and for a loop with the same reads and writes as the float32 step
// and almost no arithmetic (what the memory allows; on a GPU a copy tells).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

#include "bench/seconds.h"
#include "parallel/optimizer/adamw.h"
#include "parallel/optimizer/adamw_int8.h"
#include "parallel/optimizer/sum_of_squares.h"

namespace {

// So many parameters that none of the tensors stays in a GPU's cache from one step to the next.
void Report(c10::Device device, const char* what, double bytes, const std::function<void()>& body) {
  const double seconds = fttrain::Seconds(device, 1, [&](int) { return body(), at::Tensor(); });
  std::printf("%-38s %8.1f ms %7.2f GB/s\n", what, 1e3 * seconds, 1e-9 * bytes / seconds);
}

// The traffic of a float32 step: reads p, g, m, v and writes p, m, v.
void SameTraffic(float* __restrict p, const float* __restrict g, float* __restrict m,
                 float* __restrict v, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    p[i] += g[i];
    m[i] += g[i];
    v[i] += g[i];
  }
}

// ATen's fused kernel, to compare with.
void AtenUpdate(const at::Tensor& p, const at::Tensor& g, const at::Tensor& m, const at::Tensor& v,
                const at::Tensor&, const fttrain::AdamWStep& step) {
  const at::Tensor count =
      at::full({}, static_cast<double>(step.step), p.options().dtype(at::kFloat));
  at::_fused_adamw_({p}, {g}, {m}, {v}, {}, {count}, step.learning_rate, step.beta1, step.beta2,
                    step.weight_decay, step.eps, /*amsgrad=*/false, /*maximize=*/false);
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t n = (argc > 1 ? std::atoll(argv[1]) : 135) * 1000000;
  at::set_num_threads(argc > 2 ? std::atoi(argv[2]) : 1);
  const c10::Device device = fttrain::BenchDevice(argc > 3 ? argv[3] : "cpu");
  const double elements = static_cast<double>(n);
  const at::TensorOptions options(device);
  const at::Tensor p = at::randn({n}, options), g = at::randn({n}, options),
                   m = at::zeros({n}, options), v = at::zeros({n}, options);
  std::printf("%s, %.0f million parameters, %d thread(s)\n", device.str().c_str(), elements / 1e6,
              at::get_num_threads());

  fttrain::AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.01};
  if (device.is_cpu()) {
    Report(device, "same traffic, no arithmetic", 28 * elements, [&] {
      at::parallel_for(0, n, 1 << 15, [&](int64_t begin, int64_t end) {
        SameTraffic(p.data_ptr<float>(), g.data_ptr<float>(), m.data_ptr<float>(),
                    v.data_ptr<float>(), begin, end);
      });
    });
  } else {
    Report(device, "copy of the parameters", 8 * elements, [&] { m.copy_(p); });
    m.zero_();
  }
  v.abs_();
  const auto report = [&](const char* what, double bytes, auto update, const at::Tensor& rounded) {
    Report(device, what, bytes * elements, [&] {
      update(p, g, m, v, rounded, step);
      ++step.step;
    });
  };
  const at::Tensor rounded = at::zeros({n}, options.dtype(at::kBFloat16));
  report("AdamWUpdate, float32", 28, fttrain::AdamWUpdate, {});
  report("ATen's fused AdamW, float32", 28, AtenUpdate, {});
  report("AdamWUpdate, bfloat16 with master", 30, fttrain::AdamWUpdate, rounded);
  const int64_t n8 = n / fttrain::kInt8Block * fttrain::kInt8Block;
  const fttrain::Int8Moments moments = fttrain::ZeroInt8Moments(n8, device);
  const at::Tensor tables = fttrain::MakeInt8Tables(device);
  step.step = 1;
  const auto report_int8 = [&](const char* what, double bytes, const at::Tensor& copy) {
    Report(device, what, bytes * elements, [&] {
      fttrain::AdamWInt8Update(p.narrow(0, 0, n8), g.narrow(0, 0, n8), moments, copy, tables, step);
      ++step.step;
    });
  };
  report_int8("AdamWInt8Update, float32", 16, {});
  report_int8("AdamWInt8Update, bfloat16 with master", 18, rounded.narrow(0, 0, n8));
  const at::Tensor total = at::zeros({}, options.dtype(at::kDouble));
  Report(device, "AddSumOfSquares, float32", 4 * elements,
         [&] { fttrain::AddSumOfSquares(g, total); });
  return 0;
}
