#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "launch/doctor/judge.h"

namespace fttrain {
namespace {

// A PCIe 3 link of four lanes reaches 3.5 GB/s, one of sixteen 13.
constexpr double kSlowCopies = 3e9;

const HostFacts* HostNamed(const Facts& facts, const std::string& name) {
  for (const HostFacts& host : facts.hosts) {
    if (host.host == name) return &host;
  }
  return nullptr;
}

// Why a rank that could have had a GPU computes on the CPU.
Finding WithoutGpu(const Facts& facts, const RankFacts& rank) {
  const HostFacts* host = HostNamed(facts, rank.host);
  const size_t cards = host == nullptr ? 0 : host->cards.size();
  const auto visible = rank.environment.find("CUDA_VISIBLE_DEVICES");
  const bool hidden = visible != rank.environment.end();
  if (cards > 0 && !rank.versions.with_cuda) {
    return {
        Severity::kWarning, "devices",
        absl::StrCat("the driver of ", rank.host, " has ", cards, cards == 1 ? " card" : " cards",
                     ", but this program was built for the CPU alone"),
        "build where nvcc is on PATH"};
  }
  if (cards > 0) {
    return {
        Severity::kWarning, "devices",
        absl::StrCat(
            "no GPU: CUDA sees none of the driver's ", cards, " on ", rank.host,
            hidden ? absl::StrCat(", for CUDA_VISIBLE_DEVICES is '", visible->second, "'") : ""),
        hidden ? "unset CUDA_VISIBLE_DEVICES, or name the cards to use"
               : "install a newer driver; in a container docker run --gpus all"};
  }
  const char* why = rank.versions.with_cuda ? "no NVIDIA driver answers"
                                            : "this program was built for the CPU alone";
  return {Severity::kNote, "devices",
          absl::StrCat("no GPU: ", why, "; ranks compute on the CPU, all else is looked at")};
}

void JudgeCopies(const RankFacts& rank, Findings& findings) {
  if (rank.to_device_rate < 0) return;
  const bool slow = std::min(rank.to_device_rate, rank.from_device_rate) < kSlowCopies;
  findings.push_back(
      {slow ? Severity::kWarning : Severity::kOk, "devices",
       absl::StrCat("rank ", rank.rank, ": copies from pinned memory ",
                    RateText(rank.to_device_rate), ", back ", RateText(rank.from_device_rate)),
       slow ? "look at the card's slot and riser (lanes and generation), and what else copies; "
              "memory on the host (offload, streaming) will be slow"
            : ""});
}

void JudgeSharing(const Facts& facts, Findings& findings) {
  std::map<std::string, std::vector<int>> by_card;
  for (const RankFacts& rank : facts.ranks) {
    if (!rank.uuid.empty()) by_card[rank.uuid].push_back(rank.rank);
  }
  for (const auto& [uuid, ranks] : by_card) {
    if (ranks.size() < 2) continue;
    findings.push_back({Severity::kWarning, "devices",
                        absl::StrCat(RanksText(ranks), " share the GPU ", uuid,
                                     ": its memory and time are divided, and messages go through "
                                     "host memory, for NCCL refuses this"),
                        "start as many ranks as the hosts have GPUs"});
  }
}

void JudgeMixture(const Facts& facts, Findings& findings) {
  std::vector<int> without;
  for (const RankFacts& rank : facts.ranks) {
    if (rank.uuid.empty()) without.push_back(rank.rank);
  }
  if (without.empty() || without.size() == facts.ranks.size()) return;
  findings.push_back({Severity::kError, "devices",
                      absl::StrCat(RanksText(without), " found no GPU, the others did"),
                      "give every host one, or set device: cpu", kExitRanksDisagree});
}

}  // namespace

Findings JudgeDevices(const Facts& facts) {
  Findings findings;
  bool told = false;  // one line for all ranks without a GPU
  for (const RankFacts& rank : facts.ranks) {
    if (!rank.device_error.empty()) {
      findings.push_back(
          {Severity::kError, "devices",
           absl::StrCat("rank ", rank.rank, " on ", rank.host, ": ", rank.device_error),
           "see above; the CPU was looked at instead", kExitUsage});
    } else if (rank.uuid.empty()) {
      if (!told) findings.push_back(WithoutGpu(facts, rank));
      told = true;
    } else {
      findings.push_back(
          {Severity::kOk, "devices",
           absl::StrCat("rank ", rank.rank, " on ", rank.host, ": ", rank.device, ", ", rank.gpu,
                        ", compute capability ", rank.capability, ", ", rank.uuid)});
      JudgeCopies(rank, findings);
    }
  }
  JudgeSharing(facts, findings);
  JudgeMixture(facts, findings);
  return findings;
}

}  // namespace fttrain
