#include "model/kernels/cpu/table.h"

#include "runtime/math/isa.h"

namespace fttrain {

std::vector<const CpuKernels*> UsableCpuKernels() {
  std::vector<const CpuKernels*> usable = {&CpuKernelsBase()};
#if defined(__x86_64__)
  if (Runs(Isa::kAvx2)) usable.push_back(&CpuKernelsAvx2());
  if (Runs(Isa::kAvx512)) usable.push_back(&CpuKernelsAvx512());
  if (Runs(Isa::kAvx512Bf16)) usable.push_back(&CpuKernelsAvx512Bf16());
#endif
  return usable;
}

CpuKernels FastestCpuKernels() {
  CpuKernels kernels = *UsableCpuKernels().back();
#if defined(__x86_64__)
  // Intel's cores start a 512-bit bfloat16 dot product every second cycle, half the rate of their
  // float32 multiply-adds: attention is faster, and more exact, on widened values there.
  if (__builtin_cpu_is("intel") && Runs(Isa::kAvx512Bf16)) {
    const RowKernels<Bf16>& widened = CpuKernelsAvx512().bfloat16;
    kernels.bfloat16.attention_workspace = widened.attention_workspace;
    kernels.bfloat16.attention_forward = widened.attention_forward;
    kernels.bfloat16.attention_backward = widened.attention_backward;
  }
#endif
  return kernels;
}

}  // namespace fttrain
