// The NF4 loops for x86-64-v4 (AVX-512 F, BW, DQ, VL, CD); flags in CMakeLists.txt.
#if defined(__AVX512F__)
#define FT_ISA nf4_avx512
#define FT_ISA_NAME "avx512"
#define FT_ISA_FUNCTION Nf4KernelsAvx512
#include "model/nf4/kernels_impl.h"
#endif
