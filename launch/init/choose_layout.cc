#include "launch/init/choose_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "launch/plan/layout_keys.h"
#include "launch/plan/rig.h"
#include "launch/run/numbers.h"
#include "launch/run/rig_search.h"
#include "runtime/process/check.h"
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

// What of a host's memory the ranks take, where it is worth a word.
std::string InHostMemory(double bytes) {
  constexpr double kWorthAWord = 1 << 30;
  if (bytes < kWorthAWord) return "";
  return absl::StrCat("; it takes ", InGib(static_cast<int64_t>(bytes)), " of a host's memory");
}

}  // namespace

absl::StatusOr<ChosenLayout> ChooseLayout(const Task& task, const Layout& plain,
                                          const std::string& rig) {
  if (rig.empty()) return ForThisMachine(task);
  FT_ASSIGN_OR_RETURN(const Rig cards, ParseRig(rig));
  std::vector<int64_t> room;
  for (const Card& card : cards.cards) room.push_back(card.memory_bytes - kDesktopBytes);
  FT_ASSIGN_OR_RETURN(const RigSearch search, SearchRig({task, plain, cards, {}, room}));
  if (search.found.fits.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rig=", rig, ": ", search.reason, "; ", search.help));
  }
  const Candidate& best = search.chosen.candidate;
  const double host =
      HostBytes(best.layout.mesh, search.chosen.needed, search.fewer ? search.fewer->rig : cards);
  return ChosenLayout{best.layout.mesh.world_size(), KeysOf(task, best.layout, best.moments),
                      absl::StrCat("on ", cards.name, ": ", search.reason, InHostMemory(host))};
}

}  // namespace fttrain
