#include "model/cpu_kernels.h"

namespace fttrain {

std::vector<const CpuKernels*> UsableCpuKernels() {
  std::vector<const CpuKernels*> usable = {&CpuKernelsBase()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2")) {
    usable.push_back(&CpuKernelsAvx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      usable.push_back(&CpuKernelsAvx512());
      if (__builtin_cpu_supports("avx512bf16")) usable.push_back(&CpuKernelsAvx512Bf16());
    }
  }
#endif
  return usable;
}

}  // namespace fttrain
