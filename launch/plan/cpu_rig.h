// A machine without a GPU as a rig, whose cores its ranks share: calibrated by one measured step,
// it tells what other layouts of it take. Pure.
#pragma once

#include "launch/plan/efficiencies.h"
#include "launch/plan/layout.h"
#include "launch/plan/rig.h"

namespace fttrain {

// Of all cores together.
struct CpuRates {
  double gemm_flops = 0;
  double copy_bytes_per_second = 0;  // read and written, of a plain copy
};

// `ranks` cards, each an equal part of the cores and of the memory's bandwidth.
Rig CpuRig(const CpuRates& rates, int ranks);
// The same cores compute and copy; nothing passes beside the work.
Efficiencies CpuEfficiencies();
// The rate of products with which a step on one rank takes `seconds`, as measured. InvalidArgument
// where what else the step does takes as long.
absl::StatusOr<CpuRates> CalibrateCpu(const Task& task, const Layout& layout, double seconds,
                                      double copy_bytes_per_second);

}  // namespace fttrain
