// The NF4 loops for x86-64-v3 (AVX2, F16C); flags in CMakeLists.txt.
#if defined(__AVX2__)
#define FT_ISA nf4_avx2
#define FT_ISA_NAME "avx2"
#define FT_ISA_FUNCTION Nf4KernelsAvx2
#include "model/nf4/kernels_impl.h"
#endif
