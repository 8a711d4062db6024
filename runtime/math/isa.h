// Instruction sets. Loops are compiled for several of them, as sources of their own
// (fttrain_isa_sources) or as functions with a target, and chosen at run time.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define FT_TARGET_AVX2 __attribute__((target("avx2")))
#else
#define FT_TARGET_AVX2
#endif
#define FT_ALWAYS_INLINE inline __attribute__((always_inline))

namespace fttrain {

enum class Isa {
  kBase,        // what the compiler takes for granted
  kAvx2,        // x86-64-v3
  kAvx512,      // x86-64-v4
  kAvx512Bf16,  // x86-64-v4 with AVX512_BF16
};

// Whether this machine does.
bool Runs(Isa isa);

}  // namespace fttrain
