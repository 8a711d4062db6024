// The CPU loops for x86-64-v4 with AVX512_BF16; flags in CMakeLists.txt.
#if defined(__AVX512BF16__)
#define FT_ISA isa_avx512_bf16
#define FT_ISA_NAME "avx512_bf16"
#define FT_ISA_FUNCTION CpuKernelsAvx512Bf16
#include "model/kernels/cpu/isa_impl.h"
#endif
