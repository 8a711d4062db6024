#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/doctor/judge.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;
constexpr int64_t kLittleMemory = 2 * kGib, kLittleShm = kGib, kLittleRoom = 10 * kGib;
constexpr int64_t kFewFiles = 1024;
constexpr double kSlowDisk = 50e6, kSlowSync = 0.1, kClocksApart = 2;

std::vector<const RankFacts*> RanksOn(const Facts& facts, const std::string& host) {
  std::vector<const RankFacts*> ranks;
  for (const RankFacts& rank : facts.ranks) {
    if (rank.host == host) ranks.push_back(&rank);
  }
  return ranks;
}

bool AnyGpu(const std::vector<const RankFacts*>& ranks) {
  return std::any_of(ranks.begin(), ranks.end(),
                     [](const RankFacts* rank) { return !rank->uuid.empty(); });
}

void JudgeCores(const RankFacts& first, Findings& findings) {
  const int ranks = first.local_size, cores = first.host_cores, threads = first.threads;
  const std::string line = absl::StrCat(first.host, ": ", Counted(ranks, "rank"), " of ",
                                        Counted(threads, "thread"), " on ", Counted(cores, "core"),
                                        "; rank ", first.rank, " may use ", first.usable_cores);
  if (ranks > cores) {
    findings.push_back({Severity::kWarning, "ranks", absl::StrCat(line, ": more ranks than cores"),
                        "start fewer ranks on this host: they take turns"});
  } else if (ranks * threads > cores) {
    findings.push_back({Severity::kWarning, "ranks",
                        absl::StrCat(line, ": more threads than cores"),
                        absl::StrCat("export OMP_NUM_THREADS=", std::max(1, cores / ranks))});
  } else if (first.usable_cores * ranks * 2 <= cores && first.uuid.empty()) {
    findings.push_back({Severity::kWarning, "ranks",
                        absl::StrCat(line, ": ranks are bound to few of the cores"),
                        ". launch/env.sh, or mpirun --bind-to none"});
  } else {
    findings.push_back({Severity::kOk, "ranks", line});
  }
}

void JudgeSharedMemory(const std::vector<const RankFacts*>& ranks, Findings& findings) {
  if (ranks.size() < 2) return;
  const bool shared = ranks[0]->shares_memory;
  findings.push_back(
      {shared ? Severity::kOk : Severity::kWarning, "ranks",
       absl::StrCat(ranks[0]->host, ": its ranks ", shared ? "share memory" : "share no memory",
                    shared ? ""
                           : ": messages are copied more often, and a rank that stands still "
                             "is named by no other"),
       shared ? "" : "make /dev/shm larger (docker run --shm-size=1g)"});
}

void JudgeTimes(const Facts& facts, Findings& findings) {
  const auto by_clock = [](const RankFacts& a, const RankFacts& b) {
    return a.clock_seconds < b.clock_seconds;
  };
  const auto [early, late] = std::minmax_element(facts.ranks.begin(), facts.ranks.end(), by_clock);
  if (early == late || early->host == late->host) return;
  const double apart = late->clock_seconds - early->clock_seconds;
  findings.push_back(
      {apart > kClocksApart ? Severity::kWarning : Severity::kOk, "ranks",
       absl::StrFormat("the clocks of %s and %s are %.1f s apart, or less", late->host, early->host,
                       apart),
       apart > kClocksApart ? "set them by NTP (chrony): logs and files' times are compared" : ""});
}

void JudgeMemory(const HostFacts& host, Findings& findings) {
  const bool little = host.available_bytes >= 0 && host.available_bytes < kLittleMemory;
  findings.push_back(
      {little ? Severity::kWarning : Severity::kOk, "host",
       absl::StrCat(host.host, ": ", InGib(host.available_bytes), " of ", InGib(host.total_bytes),
                    " of memory are available; ", Counted(host.numa_nodes, "NUMA node")),
       little ? "end what takes it: loading a model and checkpoints need some" : ""});
}

void JudgeShm(const HostFacts& host, size_t ranks, bool gpus, Findings& findings) {
  const bool little = host.shm_free_bytes < kLittleShm;
  const Severity severity = !little             ? Severity::kOk
                            : ranks > 1 && gpus ? Severity::kWarning
                                                : Severity::kNote;
  const std::string text = host.shm_bytes < 0
                               ? "there is no /dev/shm"
                               : absl::StrCat("/dev/shm has ", InWords(host.shm_free_bytes),
                                              " free of ", InWords(host.shm_bytes));
  findings.push_back({severity, "host", absl::StrCat(host.host, ": ", text),
                      little ? "NCCL wants up to 1 GB: docker run --shm-size=1g, or mount -o "
                               "remount,size=1g /dev/shm"
                             : ""});
}

void JudgeLimits(const HostFacts& host, bool several_hosts, Findings& findings) {
  const bool few = host.open_files >= 0 && host.open_files < kFewFiles;
  findings.push_back({few ? Severity::kWarning : Severity::kOk, "host",
                      absl::StrCat(host.host, ": open files ",
                                   host.open_files < 0 ? "without limit"
                                                       : absl::StrCat("at most ", host.open_files)),
                      few ? "ulimit -n 65536 (limits.conf: nofile)" : ""});
  const bool locked = host.locked_bytes >= 0 && several_hosts;
  findings.push_back(
      {locked ? Severity::kNote : Severity::kOk, "host",
       absl::StrCat(host.host, ": locked memory ",
                    host.locked_bytes < 0 ? "without limit"
                                          : absl::StrCat("at most ", InWords(host.locked_bytes))),
       locked ? "for InfiniBand: ulimit -l unlimited (limits.conf: memlock)" : ""});
}

void JudgeCpu(const HostFacts& host, Findings& findings) {
  if (!host.bf16_error.empty()) {
    findings.push_back({Severity::kError, "host", absl::StrCat(host.host, ": ", host.bf16_error),
                        "unset FTTRAIN_BF16_GEMM", kExitUsage});
    return;
  }
  findings.push_back(
      {Severity::kOk, "host",
       absl::StrCat(host.host, ": bf16 on the CPU is multiplied as ", host.bf16_gemm, " (it has ",
                    host.cpu_features.empty() ? "none of AVX2, AVX512_BF16, AMX"
                                              : absl::StrJoin(host.cpu_features, ", "),
                    ")")});
}

}  // namespace

Findings JudgeRanks(const Facts& facts) {
  Findings findings;
  std::set<std::string> hosts;
  for (const RankFacts& rank : facts.ranks) {
    if (!hosts.insert(rank.host).second) continue;
    JudgeCores(rank, findings);
    JudgeSharedMemory(RanksOn(facts, rank.host), findings);
  }
  if (!facts.ranks.empty()) JudgeTimes(facts, findings);
  return findings;
}

Findings JudgeHosts(const Facts& facts) {
  Findings findings;
  for (const HostFacts& host : facts.hosts) {
    const std::vector<const RankFacts*> ranks = RanksOn(facts, host.host);
    JudgeMemory(host, findings);
    JudgeShm(host, ranks.size(), AnyGpu(ranks), findings);
    JudgeLimits(host, facts.hosts.size() > 1, findings);
    JudgeCpu(host, findings);
  }
  return findings;
}

Findings JudgeDisks(const Facts& facts) {
  Findings findings;
  for (const HostFacts& host : facts.hosts) {
    const DiskFacts& disk = host.disk;
    if (disk.tested.empty()) continue;
    const std::string where = absl::StrCat(host.host, ": ", disk.tested);
    if (!disk.error.empty()) {
      findings.push_back({Severity::kError, "disk", absl::StrCat(where, ": ", disk.error),
                          "give a folder that can be written to, with room (--output here, "
                          "output_dir of a run)",
                          kExitCannotCreate});
      continue;
    }
    const bool little = disk.free_bytes >= 0 && disk.free_bytes < kLittleRoom;
    findings.push_back({little ? Severity::kWarning : Severity::kOk, "disk",
                        absl::StrCat(where, ": ", InGib(disk.free_bytes), " are free"),
                        little ? "make room: a checkpoint of an adapter takes up to some GB, of "
                                 "all weights 14 bytes a parameter"
                               : ""});
    const bool slow = disk.write_rate < kSlowDisk || disk.fsync_seconds > kSlowSync;
    findings.push_back({slow ? Severity::kWarning : Severity::kOk, "disk",
                        absl::StrFormat("%s: writes %s to the disk, an fsync takes %.2f ms", where,
                                        RateText(disk.write_rate), disk.fsync_seconds * 1e3),
                        slow ? "write elsewhere (--output here, output_dir of a run): checkpoints "
                               "wait for this disk"
                             : ""});
  }
  return findings;
}

}  // namespace fttrain
