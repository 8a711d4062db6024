#include "launch/doctor/links.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/math/philox.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"

namespace fttrain {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 3;
constexpr int kMostInPairs = 16;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Until now, the time in which the calling thread could have run but others had the cores; 0 where
// the kernel does not count it.
double SecondsWithoutCore() {
  std::ifstream file("/proc/thread-self/schedstat");
  int64_t ran = 0, waited = 0;
  return file >> ran >> waited ? static_cast<double>(waited) / 1e9 : 0;
}

at::Tensor BytesOn(c10::Device device, int64_t bytes) {
  return at::zeros({bytes}, at::TensorOptions(at::kByte).device(device));
}

// One end of the tests of a pair. What it calls, `peer` calls too, as the other end.
class PairEnd {
 public:
  PairEnd(Communicator& all, c10::Device device, int peer)
      : all_(all), device_(device), peer_(peer), little_(BytesOn(device, 8)) {}

  // One way, in seconds. The lower rank begins.
  double Latency() {
    constexpr int kWarm = 2, kTimes = 16;
    Clock::time_point begin;
    for (int i = 0; i < kWarm + kTimes; ++i) {
      if (i == kWarm) begin = Clock::now();
      if (all_.rank() < peer_) Put(little_);
      Take(little_);
      if (all_.rank() > peer_) Put(little_);
    }
    return SecondsSince(begin) / (2 * kTimes);
  }

  // What this end received. The lower rank sends first.
  DirectionFacts BothWays(int64_t bytes) {
    const double without_core = SecondsWithoutCore();
    const Clock::time_point begin = Clock::now();
    if (all_.rank() < peer_) Send(bytes);
    DirectionFacts received = Receive(bytes);
    if (all_.rank() > peer_) Send(bytes);
    received.waited = (SecondsWithoutCore() - without_core) / SecondsSince(begin);
    return received;
  }

 private:
  // Each transfer begins when its receiver is ready, who takes the time.
  void Send(int64_t bytes) {
    for (int round = 0; round < kRounds; ++round) {
      const at::Tensor sent = Pattern(bytes, all_.rank(), peer_, round).to(device_);
      SynchronizeDevice(device_);
      Take(little_);
      Put(sent);
    }
  }
  DirectionFacts Receive(int64_t bytes) {
    DirectionFacts facts;
    facts.bytes = bytes;
    for (int round = 0; round < kRounds; ++round) {
      const at::Tensor want = Pattern(bytes, peer_, all_.rank(), round);
      at::Tensor got = BytesOn(device_, bytes);
      SynchronizeDevice(device_);
      Put(little_);
      const Clock::time_point begin = Clock::now();
      Take(got);
      facts.rate = std::max(facts.rate, static_cast<double>(bytes) / SecondsSince(begin));
      Compare(got.cpu(), want, facts);
    }
    return facts;
  }
  void Put(const at::Tensor& tensor) {
    all_.Send(tensor, peer_);
    SynchronizeDevice(device_);
  }
  void Take(at::Tensor tensor) {
    all_.Recv(std::move(tensor), peer_);
    SynchronizeDevice(device_);
  }
  static void Compare(const at::Tensor& got, const at::Tensor& want, DirectionFacts& facts) {
    if (at::equal(got, want)) return;
    const at::Tensor wrong = at::ne(got, want);
    facts.wrong_bytes += wrong.sum().item<int64_t>();
    if (facts.first_wrong < 0) facts.first_wrong = wrong.nonzero()[0].item<int64_t>();
  }

  Communicator& all_;
  const c10::Device device_;
  const int peer_;
  const at::Tensor little_;
};

// The larger of what the ranks took.
double SlowestOf(double seconds, const Process& process) {
  auto nanoseconds = static_cast<int64_t>(seconds * 1e9);
  process.LargestOfRanks({&nanoseconds, 1});
  return static_cast<double>(nanoseconds) / 1e9;
}

double SecondsOf(const DirectionFacts& transfer) {
  return transfer.rate > 0 ? static_cast<double>(transfer.bytes) / transfer.rate : 0;
}

// Whole numbers whose sums over the ranks float32 holds exactly.
at::Tensor Numbers(int64_t elements) {
  return at::arange(elements, at::kLong).remainder(509).add(1).to(at::kFloat);
}
int64_t Factor(int rank) { return rank % 16 + 1; }

}  // namespace

std::vector<std::pair<int, int>> PairsToTry(int ranks) {
  std::set<std::pair<int, int>> pairs;
  for (int a = 0; a < ranks; ++a) {
    for (int apart = 1; apart < ranks; apart = ranks <= kMostInPairs ? apart + 1 : 2 * apart) {
      const int b = (a + apart) % ranks;
      pairs.insert({std::min(a, b), std::max(a, b)});
    }
  }
  return {pairs.begin(), pairs.end()};
}

int64_t TransferBytes(const LinkTrial& trial, c10::Device device, int64_t bytes, double seconds) {
  const int64_t most = device.is_cuda() ? trial.most_gpu_bytes : trial.most_bytes;
  const double wanted = static_cast<double>(bytes) * trial.seconds / std::max(seconds, 1e-9);
  if (wanted >= static_cast<double>(most)) return most;
  return std::max(trial.least_bytes, static_cast<int64_t>(wanted) / 8 * 8);
}

at::Tensor Pattern(int64_t bytes, int sender, int receiver, int round) {
  constexpr int64_t kDrawn = 4096;  // words; all others differ from them by where they are
  const uint64_t key = static_cast<uint64_t>(sender) << 32 | static_cast<uint64_t>(receiver);
  at::Tensor pattern = at::empty({bytes}, at::kByte);
  auto* const words = static_cast<uint64_t*>(pattern.mutable_data_ptr());
  for (int64_t i = 0; i < bytes / 8; ++i) {
    if (i < kDrawn) {
      const PhiloxBlock block =
          Philox4x32(key, static_cast<uint64_t>(i), static_cast<uint64_t>(round));
      words[i] = static_cast<uint64_t>(block.x[0]) << 32 | block.x[1];
    } else {
      words[i] = words[i % kDrawn] + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u;
    }
  }
  return pattern;
}

PairFacts TryPair(Communicator& all, const Process& process, c10::Device device, int a, int b,
                  const LinkTrial& trial) {
  const int rank = all.rank();
  std::optional<PairEnd> end;
  if (rank == a || rank == b) end.emplace(all, device, rank == a ? b : a);
  PairFacts facts;
  facts.a = a;
  facts.b = b;
  // Little both ways tells how much can be sent in the time there is.
  DirectionFacts little, received;
  if (end) {
    facts.latency_seconds = end->Latency();
    little = end->BothWays(trial.least_bytes);
  }
  facts.latency_seconds = SlowestOf(end ? facts.latency_seconds : 0, process);
  const double seconds = SlowestOf(SecondsOf(little), process);
  if (end) received = end->BothWays(TransferBytes(trial, device, trial.least_bytes, seconds));
  received.wrong_bytes += little.wrong_bytes;
  if (little.first_wrong >= 0) received.first_wrong = little.first_wrong;
  const std::vector<std::string> told = process.GatherStrings(end ? ToText(received) : "");
  facts.forward = FactsFrom<DirectionFacts>(told[static_cast<size_t>(b)]);
  facts.backward = FactsFrom<DirectionFacts>(told[static_cast<size_t>(a)]);
  return facts;
}

SumFacts TryAllReduce(Communicator& all, const Process& process, c10::Device device,
                      int64_t bytes) {
  const int64_t elements = std::max<int64_t>(1, bytes / 4);
  int64_t factors = 0;
  for (int rank = 0; rank < all.size(); ++rank) factors += Factor(rank);
  const at::Tensor numbers = Numbers(elements), want = numbers * factors;
  SumFacts facts;
  facts.bytes = 4 * elements;
  int64_t wrong = 0;
  double best = -1;
  for (int round = 0; round < kRounds; ++round) {
    const at::Tensor sum = (numbers * Factor(all.rank())).to(device);
    SynchronizeDevice(device);
    process.Barrier();
    const Clock::time_point begin = Clock::now();
    all.AllReduce(sum);
    SynchronizeDevice(device);
    const double seconds = SlowestOf(SecondsSince(begin), process);
    best = best < 0 ? seconds : std::min(best, seconds);
    wrong += at::ne(sum.cpu(), want).sum().item<int64_t>();
  }
  facts.seconds = best;
  const double n = all.size();
  facts.bus_rate = 2 * (n - 1) / n * static_cast<double>(facts.bytes) / std::max(best, 1e-9);
  for (const std::string& text : process.GatherStrings(absl::StrCat(wrong))) {
    int64_t number = 0;
    FT_CHECK(absl::SimpleAtoi(text, &number), "count '", text, "'");
    facts.wrong.push_back(number);
  }
  return facts;
}

}  // namespace fttrain
