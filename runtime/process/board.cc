#include "runtime/process/board.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/process/last_words.h"

namespace fttrain {
namespace {

// Text that one process writes and others read. A reader that is overtaken reads again.
template <size_t kBytes>
class SharedText {
 public:
  void Write(std::string text) {
    text.resize(std::min(text.size(), kBytes - 1));
    text.resize(kBytes);
    const uint32_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    for (size_t i = 0; i < words_.size(); ++i) {
      uint64_t word = 0;
      std::memcpy(&word, text.data() + i * sizeof(word), sizeof(word));
      words_[i].store(word, std::memory_order_relaxed);
    }
    version_.store(version + 2, std::memory_order_release);
  }
  // A writer that was stopped in the middle leaves a mixture, which is still text.
  std::string Read() const {
    std::array<char, kBytes> bytes{};
    for (int tries = 0; tries < 100; ++tries) {
      const uint32_t before = version_.load(std::memory_order_acquire);
      for (size_t i = 0; i < words_.size(); ++i) {
        const uint64_t word = words_[i].load(std::memory_order_relaxed);
        std::memcpy(bytes.data() + i * sizeof(word), &word, sizeof(word));
      }
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) break;
    }
    bytes.back() = '\0';
    return bytes.data();
  }

 private:
  std::atomic<uint32_t> version_;
  std::array<std::atomic<uint64_t>, kBytes / sizeof(uint64_t)> words_;
};

// Processes of another namespace (a container's) have other numbers.
int64_t PidNamespace() {
  struct stat about = {};
  return ::stat("/proc/self/ns/pid", &about) == 0 ? static_cast<int64_t>(about.st_ino) : 0;
}

RankSeen::Process StateOf(int64_t pid) {
  using Process = RankSeen::Process;
  if (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return Process::kGone;
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(") ");  // the name may hold anything
  if (name_end == std::string::npos || name_end + 2 >= text.size()) return Process::kRuns;
  switch (text[name_end + 2]) {
    case 'T':
    case 't':
      return Process::kStopped;
    case 'Z':
    case 'X':
      return Process::kGone;
    case 'D':
      return Process::kWaitsForDisk;
    case 'S':
    case 'I':
      return Process::kSleeps;
    default:
      return Process::kRuns;
  }
}

int64_t Nanoseconds(Board::Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

// How long ago, by this process's `now`; another may have written since.
double Since(int64_t then, Board::Clock::time_point now) {
  return std::max(0.0, static_cast<double>(Nanoseconds(now) - then) * 1e-9);
}

constexpr char kBetween[] = "\n";

}  // namespace

// Zeros are an empty one, for both.
struct alignas(64) BoardPlace {
  std::atomic<int64_t> pid, pid_namespace;  // pid 0: has never joined
  std::atomic<int64_t> rank, step;
  std::atomic<int64_t> beat, moved, seen;  // nanoseconds: sign of life, last move, last operation
  std::atomic<int> phase;
  std::atomic<bool> has_told;
  SharedText<1024> operations;
  SharedText<512> last;
};

struct alignas(64) BoardHead {
  enum Stage { kOpen, kTaken, kWritten };
  std::atomic<int> stage;
  SharedText<2048> verdict;
};

int64_t Board::BytesFor(int places) {
  return static_cast<int64_t>(sizeof(BoardHead) + sizeof(BoardPlace) * static_cast<size_t>(places));
}

BoardHead& Board::head() const { return *reinterpret_cast<BoardHead*>(memory_.get()); }

BoardPlace& Board::place(int i) const {
  return reinterpret_cast<BoardPlace*>(memory_.get() + sizeof(BoardHead))[i];
}

Board::Board(std::shared_ptr<char> memory, const Options& options)
    : memory_(std::move(memory)), options_(options) {
  static_assert(std::atomic<int64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free);
}

void Board::Join() {
  BoardPlace& own = place(options_.own);
  const auto now = Clock::now();
  own.rank = options_.rank;
  own.pid_namespace = PidNamespace();
  own.phase = static_cast<int>(RankSeen::Phase::kNotBegun);
  own.has_told = false;
  own.moved = Nanoseconds(now);
  Beat(now);
  own.pid = getpid();  // last: now it is seen
  TellLastWordsTo(&own.has_told);
}

void Board::Leave() {
  TellLastWordsTo(nullptr);
  place(options_.own).phase = static_cast<int>(RankSeen::Phase::kLeft);
}

void Board::Beat(Clock::time_point now) { place(options_.own).beat = Nanoseconds(now); }

void Board::Write(const Activity::State& state, RankSeen::Phase phase, int64_t step,
                  Clock::time_point now) {
  BoardPlace& own = place(options_.own);
  own.phase = static_cast<int>(phase);
  own.step = step;
  if (state.moves != moves_) {
    moves_ = state.moves;
    own.moved = Nanoseconds(now);
  }
  std::string operations = absl::StrJoin(state.waits_for, kBetween);
  if (!operations.empty()) {
    own.seen = Nanoseconds(now);
    if (state.waits_for[0] != last_) own.last.Write(last_ = state.waits_for[0]);
  }
  if (operations != operations_) own.operations.Write(operations_ = std::move(operations));
}

std::vector<RankSeen> Board::Look(Clock::time_point now) const {
  const int64_t own_namespace = PidNamespace();
  std::vector<RankSeen> ranks;
  for (int i = 0; i < options_.places; ++i) {
    const BoardPlace& one = place(i);
    RankSeen rank;
    rank.pid = one.pid;
    if (rank.pid == 0) continue;
    rank.rank = static_cast<int>(one.rank);
    if (one.pid_namespace == own_namespace) rank.process = StateOf(rank.pid);
    rank.phase = static_cast<RankSeen::Phase>(one.phase.load());
    rank.step = one.step;
    rank.has_told = one.has_told;
    rank.silent_seconds = Since(one.beat, now);
    rank.still_seconds = Since(one.moved, now);
    rank.operations = absl::StrSplit(one.operations.Read(), kBetween, absl::SkipEmpty());
    rank.last = one.last.Read();
    rank.last_seconds = Since(one.seen, now);
    ranks.push_back(std::move(rank));
  }
  return ranks;
}

std::string Board::Gone(Clock::time_point now) const { return GoneRanks(Look(now), options_.host); }

bool Board::IsJudged() const { return head().stage != BoardHead::kOpen; }

std::string Board::Judge(Clock::time_point now) {
  std::string verdict;
  int stage = BoardHead::kOpen;
  if (head().stage.compare_exchange_strong(stage, BoardHead::kTaken)) {
    verdict = Verdict(Look(now), options_.host, options_.world_size);
    head().verdict.Write(verdict);
    head().stage = BoardHead::kWritten;
    return verdict;
  }
  for (int waits = 0; waits < 100 && head().stage != BoardHead::kWritten; ++waits) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return head().stage == BoardHead::kWritten
             ? head().verdict.Read()
             : Verdict(Look(now), options_.host, options_.world_size);
}

}  // namespace fttrain
