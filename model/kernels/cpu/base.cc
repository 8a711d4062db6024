// The CPU loops for the compiler's baseline; flags in CMakeLists.txt.
#define FT_ISA isa_base
#define FT_ISA_NAME "baseline"
#define FT_ISA_FUNCTION CpuKernelsBase
#include "model/kernels/cpu/isa_impl.h"
