// The CPU loops for x86-64-v3 (AVX2, FMA); flags in CMakeLists.txt.
#if defined(__AVX2__)
#define FT_ISA isa_avx2
#define FT_ISA_NAME "avx2"
#define FT_ISA_FUNCTION CpuKernelsAvx2
#include "model/kernels/cpu/isa_impl.h"
#endif
