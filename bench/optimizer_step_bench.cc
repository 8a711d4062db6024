// How close does an AdamW step come to memory bandwidth?
//   optimizer_step_bench [millions of parameters, default 135] [threads, default 1]
// Prints the median of nine steps for this project's loops (moments in float32 and in 8 bits), for
// ATen's fused kernel, and for a loop with the same reads and writes as the float32 step and almost
// no arithmetic (what the memory allows).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <vector>

#include "parallel/optimizer/adamw.h"
#include "parallel/optimizer/adamw_int8.h"
#include "parallel/optimizer/sum_of_squares.h"

namespace {

// Wall and processor time (all threads); the latter tells more on a busy machine.
struct Seconds {
  double wall;
  double cpu;
};

double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> seconds) {
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return seconds[4];
}

Seconds MedianSeconds(const std::function<void()>& body) {
  std::vector<double> wall, cpu;
  for (int i = 0; i < 9; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double cpu_start = CpuSeconds();
    body();
    cpu.push_back(CpuSeconds() - cpu_start);
    wall.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return {Median(wall), Median(cpu)};
}

void Report(const char* what, Seconds seconds, double bytes) {
  std::printf("%-38s %8.1f ms wall %8.1f ms cpu %7.2f GB/s\n", what, 1e3 * seconds.wall,
              1e3 * seconds.cpu, 1e-9 * bytes / seconds.wall);
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

}  // namespace

int main(int argc, char** argv) {
  const int64_t n = (argc > 1 ? std::atoll(argv[1]) : 135) * 1000000;
  at::set_num_threads(argc > 2 ? std::atoi(argv[2]) : 1);
  const double elements = static_cast<double>(n);
  const at::Tensor p = at::randn({n}), g = at::randn({n}), m = at::zeros({n}), v = at::zeros({n});
  std::printf("%.0f million parameters, %d thread(s)\n", elements / 1e6, at::get_num_threads());

  fttrain::AdamWStep step{.learning_rate = 1e-4, .weight_decay = 0.01};
  const Seconds memory = MedianSeconds([&] {
    at::parallel_for(0, n, 1 << 15, [&](int64_t begin, int64_t end) {
      SameTraffic(p.data_ptr<float>(), g.data_ptr<float>(), m.data_ptr<float>(),
                  v.data_ptr<float>(), begin, end);
    });
  });
  Report("same traffic, no arithmetic", memory, 28 * elements);
  v.abs_();
  const auto run = [&](auto update, const at::Tensor& rounded) {
    return MedianSeconds([&] {
      update(p, g, m, v, rounded, step);
      ++step.step;
    });
  };
  Report("AdamWUpdate, float32", run(fttrain::AdamWUpdate, at::Tensor()), 28 * elements);
  Report("AdamWUpdateAten, float32", run(fttrain::AdamWUpdateAten, at::Tensor()), 28 * elements);
  const at::Tensor rounded = at::zeros({n}, at::kBFloat16);
  Report("AdamWUpdate, bfloat16 with master", run(fttrain::AdamWUpdate, rounded), 30 * elements);
  const int64_t n8 = n / fttrain::kInt8Block * fttrain::kInt8Block;
  const fttrain::Int8Moments moments = fttrain::ZeroInt8Moments(n8, at::kCPU);
  const at::Tensor tables = fttrain::MakeInt8Tables(at::kCPU), p8 = p.narrow(0, 0, n8),
                   g8 = g.narrow(0, 0, n8);
  step.step = 1;
  const auto run_int8 = [&](const at::Tensor& copy) {
    return MedianSeconds([&] {
      fttrain::AdamWInt8Update(p8, g8, moments, copy, tables, step);
      ++step.step;
    });
  };
  Report("AdamWInt8Update, float32", run_int8(at::Tensor()), 16 * elements);
  Report("AdamWInt8Update, bfloat16 with master", run_int8(rounded.narrow(0, 0, n8)),
         18 * elements);
  Report("SumOfSquares, float32", MedianSeconds([&] { fttrain::SumOfSquares(g); }), 4 * elements);
  return 0;
}
