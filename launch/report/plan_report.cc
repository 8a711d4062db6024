#include "launch/report/plan_report.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

// Held from the first step to the last: their peaks are there at the peak of the sum.
bool StaysHeld(MemoryCategory category) {
  return category == MemoryCategory::kWeights || category == MemoryCategory::kAdapters ||
         category == MemoryCategory::kGradients || category == MemoryCategory::kOptimizer;
}

}  // namespace

std::vector<MemoryPart> PartsOf(const MemoryNeed& need) {
  const CategoryBytes& peak = need.memory.device.peak;
  int64_t held = 0, passing = 0;
  for (size_t i = 0; i < peak.of.size(); ++i) {
    (StaysHeld(static_cast<MemoryCategory>(i)) ? held : passing) += peak.of[i];
  }
  const double there =
      passing == 0
          ? 0
          : std::clamp(static_cast<double>(peak.total - held) / static_cast<double>(passing), 0.0,
                       1.0);
  std::vector<MemoryPart> parts;
  for (const MemoryCategory category :
       {MemoryCategory::kWeights, MemoryCategory::kAdapters, MemoryCategory::kGradients,
        MemoryCategory::kOptimizer, MemoryCategory::kSaved, MemoryCategory::kWorkspace,
        MemoryCategory::kCommunication, MemoryCategory::kOther}) {
    const int64_t bytes = peak.of[static_cast<size_t>(category)];
    parts.push_back(
        {std::string(MemoryCategoryName(category)),
         StaysHeld(category) ? bytes : static_cast<int64_t>(static_cast<double>(bytes) * there)});
  }
  parts.push_back({"untracked", need.untracked_bytes});
  return parts;
}

std::vector<std::vector<int>> AlikeRanks(const PlanReport& report) {
  const auto alike = [&](size_t a, size_t b) {
    const RankMemory &first = report.ranks[a].memory, &second = report.ranks[b].memory;
    return first.device == second.device && first.host == second.host &&
           (report.room.empty() || report.room[a] == report.room[b]);
  };
  std::vector<std::vector<int>> groups;
  for (size_t rank = 0; rank < report.ranks.size(); ++rank) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return alike(static_cast<size_t>(group.front()), rank);
    });
    if (same == groups.end()) {
      groups.push_back({static_cast<int>(rank)});
    } else {
      same->push_back(static_cast<int>(rank));
    }
  }
  return groups;
}

std::string RankNames(const std::vector<int>& ranks) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < ranks.size();) {
    size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    parts.push_back(i == j ? absl::StrCat(ranks[i]) : absl::StrCat(ranks[i], "-", ranks[j]));
    i = j + 1;
  }
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(parts, ","));
}

std::string LayoutName(const Layout& layout) {
  std::string name = MeshName(layout.mesh);
  if (layout.schedule == PipelineKind::kLayerMajor) name += ", layer_major";
  if (layout.schedule == PipelineKind::kInterleaved) {
    absl::StrAppend(&name, ", interleaved ",
                    layout.layers_per_run.size() / static_cast<size_t>(layout.mesh.pp));
  }
  return name;
}

std::string LongestWords(const PlanReport& report) {
  const LongestFit& longest = report.longest;
  const std::string words = absl::StrCat(WithCommas(longest.tokens), " tokens");
  if (longest.too_long > 0) {
    return absl::StrCat(words, "; ", WithCommas(longest.too_long),
                        " do not fit, what is between was not tried");
  }
  const int64_t positions = report.task.model.max_position_embeddings;
  if (longest.tokens > positions) {
    return absl::StrCat(words, ", as asked for; longer ones were not tried, for the model has ",
                        WithCommas(positions), " positions");
  }
  return absl::StrCat(words, ", as many as the model has positions");
}

std::string MethodName(const Task& task) {
  if (!task.form.adapter) return "all weights";
  return absl::StrCat(task.form.nf4 ? "qlora" : "lora", " r ", task.form.adapter->r);
}

std::string LeverWords(const Candidate& candidate) {
  const std::vector<std::string> levers = LeversOf(candidate.layout, candidate.moments);
  if (levers.empty()) return "none";
  return absl::StrJoin(levers, ", ", [](std::string* text, const std::string& lever) {
    const bool plain = lever.rfind("memory.", 0) == 0 || lever.rfind("parallel.", 0) == 0;
    absl::StrAppend(text, plain ? lever.substr(lever.find('.') + 1) : lever);
  });
}

Fit FitOf(const FoundLayout& found, const PlanReport& report) {
  const MeshShape& mesh = found.candidate.layout.mesh;
  const std::vector<int64_t> by_stage = RoomByStage(report.room, mesh);
  Fit fit{0, std::numeric_limits<int64_t>::max(), 0};
  for (size_t stage = 0; stage < found.needed.size(); ++stage) {
    if (found.needed[stage].device == 0) continue;
    fit.needed = std::max(fit.needed, found.needed[stage].device);
    fit.left = std::min(fit.left, by_stage[stage] - found.needed[stage].device);
  }
  fit.host = static_cast<int64_t>(HostBytes(mesh, found.needed, *report.rig));
  return fit;
}

std::vector<int64_t> NeedOfHosts(const PlanReport& report) {
  std::vector<int64_t> needed(static_cast<size_t>(report.rig->hosts));
  const auto cards = static_cast<size_t>(report.rig->cards_per_host());
  for (size_t rank = 0; rank < report.ranks.size(); ++rank) {
    needed[rank / cards] += report.ranks[rank].memory.host.peak.total;
  }
  return needed;
}

std::vector<TimeShare> SharesOf(const StepTime& time) {
  std::vector<TimeShare> shares = {{"bubble", "waiting for other stages", time.bubble},
                                   {"communication", "communication", time.communication},
                                   {"dequantize", "dequantisation", time.dequantize},
                                   {"recompute", "recomputation", time.recompute},
                                   {"host_copies", "copies from and to the host", time.host_copies},
                                   {"optimizer", "the optimizer", time.optimizer}};
  double rest = 1;
  for (const TimeShare& each : shares) rest -= each.share;
  shares.push_back({"compute", "products, attention and kernels", std::max(0.0, rest)});
  return shares;
}

}  // namespace fttrain
