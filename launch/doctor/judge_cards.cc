#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launch/doctor/judge.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

// A desktop without programs takes less.
constexpr int64_t kMuchTaken = int64_t{512} << 20;
// Where what the driver has reserved is not told apart, and nobody is seen to hold any.
constexpr int64_t kMuchReserved = int64_t{2} << 30;

std::string NameOf(const HostFacts& host, const CardState& card) {
  return absl::StrCat(card.name, " (", card.uuid.substr(0, 8), ") of ", host.host);
}

std::string HolderText(const HolderFacts& holder) {
  const std::string name = holder.name.empty() ? "a process of another container" : holder.name;
  return absl::StrCat(holder.bytes < 0 ? "some" : InWords(holder.bytes), " by ", name, " (pid ",
                      holder.pid, holder.graphics ? ", graphics)" : ")");
}

void JudgeTaken(const HostFacts& host, const CardFacts& facts, Findings& findings) {
  const CardState& card = facts.card;
  if (card.total_bytes < 0) return;
  const bool apart = card.reserved_bytes >= 0;
  const int64_t taken = card.total_bytes - card.free_bytes - (apart ? card.reserved_bytes : 0);
  const bool much = taken > (apart || !facts.holders.empty() ? kMuchTaken : kMuchReserved);
  std::vector<std::string> holders;
  for (const HolderFacts& holder : facts.holders) holders.push_back(HolderText(holder));
  std::string by = absl::StrJoin(holders, ", ");
  if (by.empty() && much) by = "by processes that cannot be seen from here";
  findings.push_back(
      {much ? Severity::kWarning : Severity::kOk, "devices",
       absl::StrCat(NameOf(host, card), ": ", InGib(card.free_bytes), " of ",
                    InGib(card.total_bytes), " are free, ", InWords(taken),
                    " taken before this run", by.empty() ? "" : ": ", by),
       much ? "end those processes, or use another card (CUDA_VISIBLE_DEVICES)" : ""});
}

void JudgeClocks(const HostFacts& host, const CardState& card, Findings& findings) {
  std::vector<std::string> why;
  if (card.held_back & (HeldBack::kHeat | HeldBack::kHardwareHeat)) why.emplace_back("heat");
  if (card.held_back & HeldBack::kPowerBrake) why.emplace_back("a power brake from outside");
  if (why.empty() && card.held_back & HeldBack::kHardware) {
    why.emplace_back("its hardware: heat or power");
  }
  if (!why.empty()) {
    findings.push_back(
        {Severity::kWarning, "devices",
         absl::StrCat(NameOf(host, card), ": clocks are held back by ", absl::StrJoin(why, " and "),
                      " (", card.sm_mhz, " of ", card.max_sm_mhz, " MHz)"),
         "look at fans, air and power supply; nvidia-smi -q -d PERFORMANCE"});
  } else if (card.sm_mhz >= 0) {
    const bool capped = (card.held_back & HeldBack::kPowerCap) != 0;
    findings.push_back(
        {capped ? Severity::kNote : Severity::kOk, "devices",
         absl::StrCat(NameOf(host, card), ": clocks ", card.sm_mhz, " of ", card.max_sm_mhz,
                      " MHz, memory ", card.memory_mhz, " of ", card.max_memory_mhz, " MHz",
                      capped ? "; held back by its power limit" : "")});
  }
}

void JudgePcie(const HostFacts& host, const CardState& card, Findings& findings) {
  if (card.link_width < 0 || card.max_link_width < 0) return;
  const bool narrow = card.link_width < card.max_link_width;
  const bool old = card.link_generation < card.max_link_generation;
  const Severity severity = narrow ? Severity::kWarning : old ? Severity::kNote : Severity::kOk;
  findings.push_back({severity, "devices",
                      absl::StrCat(NameOf(host, card), ": PCIe generation ", card.link_generation,
                                   " of ", card.max_link_generation, ", ", card.link_width, " of ",
                                   card.max_link_width, " lanes"),
                      narrow ? "seat the card in a slot with all lanes; look at riser and BIOS"
                      : old
                          ? "idle cards lower it; where copies are slow too, look at riser and BIOS"
                          : ""});
}

bool IommuTranslates(const HostFacts& host) {
  return host.iommu && !absl::StrContains(host.iommu_words, "iommu=pt") &&
         !absl::StrContains(host.iommu_words, "iommu=off");
}

void JudgePaths(const Facts& facts, const HostFacts& host, Findings& findings) {
  if (host.gpu_paths.empty()) return;
  const auto is_direct = [](const GpuPath& path) { return path.direct; };
  const auto direct = std::count_if(host.gpu_paths.begin(), host.gpu_paths.end(), is_direct);
  const auto all = static_cast<int64_t>(host.gpu_paths.size());
  findings.push_back(
      {direct == all ? Severity::kOk : Severity::kNote, "devices",
       absl::StrCat(host.host, ": of ", all, " ways between its GPUs ", direct, " are direct",
                    direct == all ? ""
                                  : "; others go through host "
                                    "memory")});
  if (direct == 0 || !IommuTranslates(host)) return;
  // With an IOMMU that translates, direct copies have been seen to hang and to be wrong.
  const bool tried = !facts.links.pairs.empty();
  findings.push_back(
      {tried ? Severity::kNote : Severity::kWarning, "devices",
       absl::StrCat(host.host, ": an IOMMU is on (",
                    host.iommu_words.empty() ? "by default" : host.iommu_words,
                    "), and direct copies between GPUs may hang or be wrong",
                    tried ? "; those tried here are told under links" : ""),
       "iommu=pt on the kernel's command line and ACS off, or mpirun -x NCCL_P2P_DISABLE=1"});
}

}  // namespace

Findings JudgeCards(const Facts& facts) {
  Findings findings;
  for (const HostFacts& host : facts.hosts) {
    for (const CardFacts& card : host.cards) {
      JudgeTaken(host, card, findings);
      JudgeClocks(host, card.card, findings);
      JudgePcie(host, card.card, findings);
    }
    JudgePaths(facts, host, findings);
  }
  return findings;
}

}  // namespace fttrain
