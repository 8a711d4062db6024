// Which of matmul.h's ways to multiply bfloat16 matrices suits this machine.
#include <c10/util/Exception.h>

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "model/matmul/matmul.h"
#include "runtime/math/isa.h"

namespace fttrain {
namespace {

#if defined(__x86_64__)
// AMX needs the system's leave to save its tiles, and Linux's is asked for by whoever uses them:
// what counts here is that the state is enabled.
bool TilesEnabled() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kOsXsave = 1u << 27, kTileStates = 3u << 17;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsXsave) == 0) return false;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileStates) == kTileStates;
}

CpuFeatures Ask() {
  CpuFeatures features;
  unsigned a = 0, b = 0, c = 0, d = 0;
  features.intel = __builtin_cpu_is("intel") != 0;
  features.avx512_bf16 = Runs(Isa::kAvx512Bf16);
  constexpr unsigned kAmxBf16 = 1u << 22;
  features.amx_bf16 =
      __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0 && TilesEnabled();
  return features;
}
#else
// No comparison has been made on other processors: their library's own choice.
CpuFeatures Ask() { return {.avx512_bf16 = true}; }
#endif

}  // namespace

const CpuFeatures& ThisCpu() {
  static const CpuFeatures features = Ask();
  return features;
}

Bf16Gemm PreferredBf16Gemm(const CpuFeatures& features) {
  const bool native = features.amx_bf16 || (features.avx512_bf16 && !features.intel);
  return native ? Bf16Gemm::kNative : Bf16Gemm::kFloat32;
}

Bf16Gemm DefaultBf16Gemm() {
  static const Bf16Gemm backend = [] {
    const char* choice = std::getenv("FTTRAIN_BF16_GEMM");
    if (choice == nullptr) return PreferredBf16Gemm(ThisCpu());
    const std::string_view name = choice;
    TORCH_CHECK(name == "native" || name == "float32", "FTTRAIN_BF16_GEMM=", choice,
                ": expected native or float32");
    return name == "native" ? Bf16Gemm::kNative : Bf16Gemm::kFloat32;
  }();
  return backend;
}

const char* Bf16GemmName(Bf16Gemm backend) {
  return backend == Bf16Gemm::kNative ? "native" : "float32";
}

}  // namespace fttrain
