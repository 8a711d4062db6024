#include "launch/init/choose_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "launch/run/numbers.h"
#include "runtime/process/device.h"

namespace fttrain {
namespace {

// A rank a GPU; as many replicas as divide a step's rows.
ChosenLayout ForThisMachine(const Task& task) {
  const int gpus = Gpus().Count();
  ChosenLayout chosen;
  chosen.ranks = static_cast<int>(std::clamp<int64_t>(task.rows_per_step, 1, std::max(1, gpus)));
  while (task.rows_per_step % chosen.ranks != 0) --chosen.ranks;
  chosen.why = gpus == 0 ? "one rank on the CPU of this machine"
                         : absl::StrCat(Counted(chosen.ranks, "rank"), " on this machine's ",
                                        Counted(gpus, "GPU"), ", a copy of the model each");
  return chosen;
}

}  // namespace

absl::StatusOr<ChosenLayout> ChooseLayout(const Task& task, const Layout& /*plain*/,
                                          const std::string& rig) {
  if (rig.empty()) return ForThisMachine(task);
  return absl::UnimplementedError("--rig: no layout is searched for yet");
}

}  // namespace fttrain
