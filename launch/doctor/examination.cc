#include "launch/doctor/examination.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/doctor/disk.h"
#include "launch/doctor/host.h"
#include "launch/doctor/judge.h"
#include "launch/doctor/rank.h"
#include "launch/doctor/report.h"
#include "launch/run/network.h"
#include "runtime/comm/host_board.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"
#include "runtime/process/watchdog.h"

namespace fttrain {
namespace {

constexpr int64_t kLittleSum = 4096;

class Examination {
 public:
  Examination(const ExaminationOptions& options, const Process& process)
      : options_(options), process_(process), board_(OpenHostBoard(process)) {
    facts_.program = options.program;
    facts_.world_size = process.world_size();
  }

  absl::Status Run() {
    try {
      // Drivers take their time.
      Watch(options_.connect_seconds, options_.connect_seconds);
      LookAtHosts();
      TryDisks();
      LookAtRanks();
      if (process_.world_size() > 1) TryLinks();
    } catch (const std::exception& error) {
      EndOnError(error.what());
    }
    watchdog_->Rest();
    all_.reset();
    absl::Status status;
    if (process_.rank() == 0) status = Tell();
    return process_.AgreeOnStatus(status);
  }

 private:
  // All ranks are at the next stage from here on.
  void Begin(Stage stage) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stage_ = std::move(stage);
    }
    watchdog_->BeginStep(++steps_);
  }
  void Watch(double seconds, double first_seconds) {
    watchdog_.reset();
    watchdog_ = std::make_unique<Watchdog>(
        process_.activity(), seconds, first_seconds,
        [this](const std::string& seen, bool) { EndOnHang(seen); }, board_.get());
  }
  void Note(const std::function<void()>& change) {
    const std::lock_guard<std::mutex> lock(mutex_);
    change();
  }

  // One per host, by its first rank, before any rank opens a GPU.
  void LookAtHosts() {
    Begin({"devices", "a look at the hosts and their cards"});
    std::string mine;
    if (process_.local_rank() == 0) {
      HostFacts facts = LookAtHost(process_.host());
      nvml_ = LoadNvml();
      facts.has_nvml = nvml_.has_value();
      if (nvml_) facts.driver = DriverVersion(*nvml_);
      if (nvml_) facts.cards = WithNames(ReadCards(*nvml_));
      mine = ToText(facts);
    }
    const std::vector<std::string> told = process_.GatherStrings(mine);
    Note([&] {
      for (const std::string& text : told) {
        if (!text.empty()) facts_.hosts.push_back(FactsFrom<HostFacts>(text));
      }
    });
  }

  // `told`: one text per host, empty of its other ranks.
  void ForEachHost(const std::vector<std::string>& told,
                   const std::function<void(HostFacts&, const std::string&)>& take) {
    const std::lock_guard<std::mutex> lock(mutex_);
    size_t host = 0;
    for (const std::string& text : told) {
      if (!text.empty()) take(facts_.hosts[host++], text);
    }
  }

  void TryDisks() {
    Begin({"disk", absl::StrCat("writing to ", options_.folder)});
    std::string mine;
    if (process_.local_rank() == 0) {
      mine = ToText(TryDisk(options_.folder, {}, [this] { process_.activity().Moved(); }));
    }
    ForEachHost(process_.GatherStrings(mine), [](HostFacts& host, const std::string& text) {
      host.disk = FactsFrom<DiskFacts>(text);
    });
  }

  void LookAtRanks() {
    Begin({"devices", "opening the devices"});
    RankLook mine = LookAtRank(options_.device, process_);
    mine.facts.shares_memory = board_ != nullptr;
    device_ = mine.device;
    process_.Barrier();
    mine.facts.clock_seconds =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const std::vector<std::string> told = process_.GatherStrings(ToText(mine.facts));
    Note([&] {
      for (const std::string& text : told) facts_.ranks.push_back(FactsFrom<RankFacts>(text));
    });
    // Once copies have woken the cards up.
    std::string cards;
    if (process_.local_rank() == 0) {
      cards = ToText(nvml_ ? ReadCards(*nvml_) : std::vector<CardState>{});
    }
    ForEachHost(process_.GatherStrings(cards), [](HostFacts& host, const std::string& text) {
      TakeClocks(FactsFrom<std::vector<CardState>>(text), host.cards);
    });
    TellPaths();
  }

  void TellPaths() {
    HostFacts mine;
    mine.gpu_paths = GpuPaths();
    const std::string text = process_.local_rank() == 0 ? ToText(mine) : "";
    ForEachHost(process_.GatherStrings(text), [](HostFacts& host, const std::string& told) {
      host.gpu_paths = FactsFrom<HostFacts>(told).gpu_paths;
    });
  }

  CommBackend Backend() {
    if (options_.backend != nullptr) return options_.backend;
    // What some lack, none can use: the rest is looked at on the CPU.
    if (process_.AnyRank(device_.is_cpu())) device_ = c10::Device(c10::kCPU);
    return *AgreeOnBackend(device_, process_);
  }

  void TryLinks() {
    const bool nccl = device_.is_cuda();  // it takes its time
    Watch(options_.timeout_seconds, nccl ? options_.connect_seconds : options_.timeout_seconds);
    Begin({"links", "connecting all ranks"});
    const CommBackend backend = Backend();
    CommunicatorSpec spec;
    spec.axis = "doctor";
    spec.key = process_.rank();
    spec.size = process_.world_size();
    const std::string transport = TransportName(backend, device_);
    Note([&] {
      facts_.links.transport = transport;
      facts_.links.all_pairs = spec.size * (spec.size - 1) / 2;
    });
    absl::StatusOr<std::unique_ptr<Communicator>> made =
        CreateCommunicator(backend, process_, spec);
    Note([&] {
      facts_.links.connected = made.ok();
      if (!made.ok()) facts_.links.error = std::string(made.status().message());
    });
    if (!made.ok()) return;
    all_ = *std::move(made);
    TryPairs();
    const int64_t much =
        device_.is_cuda() ? options_.trial.most_gpu_bytes : options_.trial.most_bytes;
    for (const int64_t bytes : {kLittleSum, much}) {
      Begin({"links", absl::StrCat("an all_reduce of all ranks, ", bytes, " bytes,")});
      SumFacts sum = TryAllReduce(*all_, process_, device_, bytes);
      Note([&] { facts_.links.sums.push_back(std::move(sum)); });
    }
  }

  PairFacts TryOne(int a, int b) {
    Begin({"links", absl::StrCat("the pair of rank ", a, " and rank ", b), a, b});
    return TryPair(*all_, process_, device_, a, b, options_.trial);
  }

  void TryPairs() {
    for (const auto& [a, b] : PairsToTry(process_.world_size())) {
      const PairFacts pair = TryOne(a, b);
      Note([&] { facts_.links.pairs.push_back(pair); });
    }
    // Something else may have had the machine for a moment. All ranks have the same facts.
    for (const size_t i : SlowPairs(facts_)) {
      const PairFacts again = TryOne(facts_.links.pairs[i].a, facts_.links.pairs[i].b);
      Note([&] {
        PairFacts& pair = facts_.links.pairs[i];
        Better(again.forward, pair.forward);
        Better(again.backward, pair.backward);
      });
    }
  }
  static void Better(const DirectionFacts& again, DirectionFacts& facts) {
    if (again.rate > facts.rate) {
      facts.rate = again.rate;
      facts.waited = again.waited;
    }
    facts.wrong_bytes += again.wrong_bytes;
    if (facts.first_wrong < 0) facts.first_wrong = again.first_wrong;
  }

  void Print(const Findings& findings) const {
    const std::string text =
        options_.json ? FindingsJson(findings, facts_) : FindingsText(findings);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  absl::Status Tell() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Findings findings = JudgeAll(facts_);
    Print(findings);
    if (!HasErrors(findings)) return absl::OkStatus();
    return WithExitCode(absl::AbortedError(ErrorsLine(findings)), ExitCodeOf(findings));
  }

  bool IsOnAnotherHost() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return !facts_.hosts.empty() && facts_.hosts[0].host != process_.host();
  }

  // Of the watchdog's thread. The rank that speaks is not to be ended by another's end.
  void EndOnHang(const std::string& seen) {
    if (process_.rank() > 0) {
      if (IsOnAnotherHost()) LogError(seen);  // rank 0's watchdog cannot see this host
      std::this_thread::sleep_for(std::chrono::seconds(2));
      Process::EndFromAnyThread(kExitHang);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    TellLast(JudgeHang(facts_, stage_, seen));
    Process::EndFromAnyThread(kExitHang);
  }

  // The others wait for this rank in the stage. Where it is not the one that speaks, the watchdogs
  // will say which stage that is.
  [[noreturn]] void EndOnError(const std::string& what) {
    if (process_.rank() > 0) {
      LogError(absl::StrCat(stage_.what, " fails: ", what));
      const double longest = std::max(options_.timeout_seconds, options_.connect_seconds) + 5;
      std::this_thread::sleep_for(std::chrono::duration<double>(longest));
      process_.AbortJob(kExitIo);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    const Finding last = JudgeFailure(facts_, stage_, what);
    TellLast(last);
    process_.AbortJob(last.exit_code);
  }

  void TellLast(const Finding& last) const {
    Findings findings = JudgeAll(facts_);
    findings.push_back(last);
    Print(findings);
    LogAgreedError(last.exit_code, ErrorsLine(findings));
  }

  const ExaminationOptions& options_;
  const Process& process_;
  std::mutex mutex_;  // of facts_ and stage_, which the watchdog reads
  Facts facts_;
  Stage stage_;
  int64_t steps_ = 0;
  c10::Device device_ = c10::Device(c10::kCPU);
  std::optional<NvmlCalls> nvml_;
  std::unique_ptr<Communicator> all_;
  const std::unique_ptr<Board> board_;
  std::unique_ptr<Watchdog> watchdog_;
};

}  // namespace

absl::Status Examine(const ExaminationOptions& options, const Process& process) {
  return Examination(options, process).Run();
}

}  // namespace fttrain
