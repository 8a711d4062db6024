#include "model/nf4_kernels.h"

namespace fttrain {

std::vector<const Nf4Kernels*> UsableNf4Kernels() {
  std::vector<const Nf4Kernels*> usable = {&Nf4KernelsBase()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c")) {
    usable.push_back(&Nf4KernelsAvx2());
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")) {
      usable.push_back(&Nf4KernelsAvx512());
    }
  }
#endif
  return usable;
}

}  // namespace fttrain
