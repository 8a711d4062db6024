// The CPU loops for x86-64-v4 (AVX-512 F, BW, DQ, VL); flags in CMakeLists.txt.
#if defined(__AVX512F__)
#define FT_ISA isa_avx512
#define FT_ISA_NAME "avx512"
#define FT_ISA_FUNCTION CpuKernelsAvx512
#include "model/kernels/cpu/isa_impl.h"
#endif
