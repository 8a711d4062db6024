#include "model/nf4/kernels.h"

#include "model/kernels/cpu/table.h"

namespace fttrain {

std::vector<const Nf4Kernels*> UsableNf4Kernels() {
  std::vector<const Nf4Kernels*> usable = {&Nf4KernelsBase()};
#if defined(__x86_64__)
  if (RunsX86V3()) usable.push_back(&Nf4KernelsAvx2());
  if (RunsX86V4()) usable.push_back(&Nf4KernelsAvx512());
#endif
  return usable;
}

}  // namespace fttrain
