#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <vector>

namespace fttrain {

// Seconds of one call, the median of fifteen. On the CPU, processor time over threads: other
// programs disturb it less.
inline double Seconds(c10::Device device, const std::function<void()>& body) {
  const auto now = [&] {
    timespec time;
    if (device.is_cuda()) at::ones({1}, device).item<float>();  // waits for the stream
    clock_gettime(device.is_cuda() ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double threads = device.is_cuda() ? 1 : at::get_num_threads();
  std::vector<double> times;
  body();
  for (int repeat = 0; repeat < 15; ++repeat) {
    const double start = now();
    body();
    times.push_back((now() - start) / threads);
  }
  std::nth_element(times.begin(), times.begin() + 7, times.end());
  return times[7];
}

}  // namespace fttrain
