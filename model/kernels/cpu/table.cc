#include "model/kernels/cpu/table.h"

namespace fttrain {

#if defined(__x86_64__)
bool RunsX86V3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
}

bool RunsX86V4() {
  return RunsX86V3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
}
#endif

std::vector<const CpuKernels*> UsableCpuKernels() {
  std::vector<const CpuKernels*> usable = {&CpuKernelsBase()};
#if defined(__x86_64__)
  if (RunsX86V3()) usable.push_back(&CpuKernelsAvx2());
  if (RunsX86V4()) {
    usable.push_back(&CpuKernelsAvx512());
    if (__builtin_cpu_supports("avx512bf16")) usable.push_back(&CpuKernelsAvx512Bf16());
  }
#endif
  return usable;
}

CpuKernels FastestCpuKernels() {
  CpuKernels kernels = *UsableCpuKernels().back();
#if defined(__x86_64__)
  // Intel's cores start a 512-bit bfloat16 dot product every second cycle, half the rate of their
  // float32 multiply-adds: attention is faster, and more exact, on widened values there.
  if (__builtin_cpu_is("intel") && __builtin_cpu_supports("avx512bf16")) {
    const RowKernels<Bf16>& widened = CpuKernelsAvx512().bfloat16;
    kernels.bfloat16.attention_workspace = widened.attention_workspace;
    kernels.bfloat16.attention_forward = widened.attention_forward;
    kernels.bfloat16.attention_backward = widened.attention_backward;
  }
#endif
  return kernels;
}

}  // namespace fttrain
