#include "launch/plan/cpu_rig.h"

#include "absl/strings/str_cat.h"
#include "launch/plan/step_time.h"

namespace fttrain {

Rig CpuRig(const CpuRates& rates, int ranks) {
  // Beside products; rows are short, and masks and exponentials take their part.
  constexpr double kAttention = 0.4;
  const double copy = rates.copy_bytes_per_second / ranks;
  Rig rig;
  rig.name = absl::StrCat(ranks, ranks == 1 ? " rank" : " ranks", " on this machine's processor");
  const Card card{.name = "CPU",
                  .memory_bytes = 0,
                  .peak_flops = rates.gemm_flops / ranks,
                  .gemm_flops = rates.gemm_flops / ranks,
                  .attention_flops = kAttention * rates.gemm_flops / ranks,
                  .memory_bytes_per_second = copy};
  rig.cards.assign(static_cast<size_t>(ranks), card);
  // MPI writes a byte to memory that ranks share and reads it there: two copies.
  rig.collective = rig.neighbour = copy / 4;
  rig.host_copy = copy / 2;
  rig.disk = 1e9;  // about what bench/results/layouts.md saw, through the file system's cache
  return rig;
}

Efficiencies CpuEfficiencies() {
  Efficiencies efficiencies;
  efficiencies.dequantize = 0.95;
  efficiencies.dequantize_hidden = 0;
  efficiencies.beside = false;
  efficiencies.issue_seconds = 0;
  return efficiencies;
}

absl::StatusOr<CpuRates> CalibrateCpu(const Task& task, const Layout& layout, double seconds,
                                      double copy_bytes_per_second) {
  // A step's seconds are a / rate + b.
  constexpr double kRate = 1e12;
  const auto at = [&](double flops) {
    return TimeOf(task, layout, CpuRig({flops, copy_bytes_per_second}, 1), CpuEfficiencies())
        .seconds;
  };
  const double fast = at(2 * kRate), slow = at(kRate);
  const double rest = 2 * fast - slow;
  if (seconds <= rest) {
    return absl::InvalidArgumentError(absl::StrCat("a step of ", seconds, " s, of which ", rest,
                                                   " s are not products at a copy's ",
                                                   copy_bytes_per_second, " bytes a second"));
  }
  return CpuRates{kRate * (slow - rest) / (seconds - rest), copy_bytes_per_second};
}

}  // namespace fttrain
