// Element loops are compiled twice, for the baseline and for AVX2, and chosen at run time. Their
// results are equal bit by bit: no fused multiply-adds (CMakeLists.txt), the same order of
// additions.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define FT_TARGET_AVX2 __attribute__((target("avx2")))
#else
#define FT_TARGET_AVX2
#endif
#define FT_ALWAYS_INLINE inline __attribute__((always_inline))

namespace fttrain {

inline bool HasAvx2() {
#if defined(__x86_64__) && defined(__GNUC__)
  return __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

}  // namespace fttrain
