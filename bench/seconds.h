#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/Event.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string_view>
#include <vector>

#include "runtime/memory/current_stream.h"

namespace fttrain {

// The device that `name` stands for. Ends the program with exit code 1 if it is a GPU and none is
// usable: nothing timed is no result.
inline c10::Device BenchDevice(const char* name) {
  const c10::Device device(name);
  if (device.is_cuda() && !at::hasCUDA()) {
    std::fprintf(stderr, "%s: no usable GPU; nothing was timed\n", name);
    std::exit(1);
  }
  return device;
}

// How many sets of tensors a GPU goes through in turn, each `bytes` large, so that none is still in
// its L2 cache when its turn comes: 512 MB in all. 1 on a CPU.
inline int RotatingSets(c10::Device device, double bytes) {
  return device.is_cuda() ? std::max(2, static_cast<int>(512e6 / bytes) + 1) : 1;
}

// One call; its argument counts up, and its result is kept until as many other calls are done as
// there are sets, so that results rotate too.
using BenchBody = std::function<at::Tensor(int set)>;

namespace bench_internal {

// Between two events on the stream, which hold no launch and no copy to the host: 20 calls or more.
inline double CudaSeconds(c10::Device device, const std::function<void()>& call, int sets) {
  const int calls = (20 + sets - 1) / sets * sets;
  const c10::Stream stream = CurrentStream(device);
  c10::Event start(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  c10::Event end(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  start.record(stream);
  for (int i = 0; i < calls; ++i) call();
  end.record(stream);
  end.synchronize();
  return start.elapsedTime(end) * 1e-3 / calls;
}

// Processor time over threads: other programs disturb it less than the clock on the wall.
inline double CpuSeconds(const std::function<void()>& call) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  call();
  return (now() - start) / at::get_num_threads();
}

}  // namespace bench_internal

// Seconds of one call, the median of fifteen on a CPU and of five times twenty or more on a GPU.
inline double Seconds(c10::Device device, int sets, const BenchBody& body) {
  std::vector<at::Tensor> results(static_cast<size_t>(sets));
  size_t set = 0;
  const auto call = [&] {
    results[set] = body(static_cast<int>(set));
    set = (set + 1) % results.size();
  };
  for (int i = 0; i < sets; ++i) call();
  std::vector<double> times(device.is_cuda() ? 5 : 15);
  for (double& time : times) {
    time = device.is_cuda() ? bench_internal::CudaSeconds(device, call, sets)
                            : bench_internal::CpuSeconds(call);
  }
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace fttrain
