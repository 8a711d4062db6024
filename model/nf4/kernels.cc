#include "model/nf4/kernels.h"

#include "runtime/math/isa.h"

namespace fttrain {

std::vector<const Nf4Kernels*> UsableNf4Kernels() {
  std::vector<const Nf4Kernels*> usable = {&Nf4KernelsBase()};
#if defined(__x86_64__)
  if (Runs(Isa::kAvx2)) usable.push_back(&Nf4KernelsAvx2());
  if (Runs(Isa::kAvx512)) usable.push_back(&Nf4KernelsAvx512());
#endif
  return usable;
}

}  // namespace fttrain
