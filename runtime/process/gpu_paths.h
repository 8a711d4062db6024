// Which GPUs reach each other's memory without the host's.
#pragma once

#include <vector>

namespace fttrain {

struct GpuPath {
  int from = 0, to = 0;  // indices of GPUs that this process sees
  bool direct = false;   // peer access, by NVLink or PCIe
};

// Every ordered pair of them; empty with fewer than two, or without CUDA. Opens no GPU.
std::vector<GpuPath> GpuPaths();

}  // namespace fttrain
