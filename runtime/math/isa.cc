#include "runtime/math/isa.h"

namespace fttrain {

bool Runs(Isa isa) {
#if defined(__x86_64__) && defined(__GNUC__)
  switch (isa) {
    case Isa::kBase:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
    case Isa::kAvx512:
      return Runs(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
    case Isa::kAvx512Bf16:
      return Runs(Isa::kAvx512) && __builtin_cpu_supports("avx512bf16");
  }
#endif
  return isa == Isa::kBase;
}

}  // namespace fttrain
