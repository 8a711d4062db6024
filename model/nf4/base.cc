// The NF4 loops for any machine.
#define FT_ISA nf4_base
#define FT_ISA_NAME "base"
#define FT_ISA_FUNCTION Nf4KernelsBase
#include "model/nf4/kernels_impl.h"
