// Processes of one host that tell each other what they do.
#include "runtime/process/board.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>
#include <string>
#include <thread>

#include "runtime/process/last_words.h"
#include "runtime/process/watchdog.h"

namespace fttrain {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kPlaces = 2;

std::shared_ptr<char> Memory() {
  const auto bytes = static_cast<size_t>(Board::BytesFor(kPlaces));
  void* const data =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return {static_cast<char*>(data), [bytes](char* mapped) { munmap(mapped, bytes); }};
}

Board::Options Place(int own) {
  return {.places = kPlaces, .own = own, .rank = 4 + own, .world_size = 8, .host = "h"};
}

// A process that is rank 5, until it is killed at the latest by the destructor.
class Rank5 {
 public:
  Rank5(const std::shared_ptr<char>& memory, const std::function<void(Board&)>& lives)
      : pid_(fork()) {
    if (pid_ != 0) return;
    Board board(memory, Place(1));
    board.Join();
    lives(board);
    _exit(0);
  }
  ~Rank5() {
    if (reaped_) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  void WaitForEnd() {
    waitpid(pid_, nullptr, 0);
    reaped_ = true;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
  bool reaped_ = false;
};

void LiveInAnOperation(Board& board) {
  Activity activity;
  const Activity::Waiting waits(&activity, "recv", activity.Intern("tp of ranks 4, 5"), 8, 4);
  while (true) {
    board.Beat(Board::Clock::now());
    board.Write(activity.Look(), RankSeen::Phase::kInStep, 3, Board::Clock::now());
    std::this_thread::sleep_for(milliseconds(20));
  }
}

// What `board` sees once `is` is true of it, or after ten seconds.
template <typename Is>
std::vector<RankSeen> LookUntil(const Board& board, const Is& is) {
  for (int looks = 0; looks < 500; ++looks) {
    const auto seen = board.Look(Board::Clock::now());
    if (is(seen)) return seen;
    std::this_thread::sleep_for(milliseconds(20));
  }
  return board.Look(Board::Clock::now());
}

TEST(Board, ShowsWhatAnotherProcessDoesAndThatItIsStopped) {
  const auto memory = Memory();
  Board board(memory, Place(0));
  EXPECT_THAT(board.Look(Board::Clock::now()), IsEmpty());
  Rank5 other(memory, LiveInAnOperation);
  auto seen =
      LookUntil(board, [](const auto& all) { return !all.empty() && !all[0].operations.empty(); });
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].rank, 5);
  EXPECT_EQ(seen[0].pid, other.pid());
  EXPECT_LT(seen[0].silent_seconds, 1);
  EXPECT_THAT(seen[0].operations, ElementsAre("recv[tp of ranks 4, 5] with rank 4, 8 bytes"));
  EXPECT_EQ(seen[0].last, seen[0].operations[0]);

  kill(other.pid(), SIGSTOP);
  seen = LookUntil(board,
                   [](const auto& all) { return all[0].process == RankSeen::Process::kStopped; });
  EXPECT_EQ(seen[0].process, RankSeen::Process::kStopped);
}

TEST(Board, TellsAnAccidentFromAnEndThatWasSaid) {
  const auto memory = Memory();
  Board board(memory, Place(0));
  Rank5(memory, [](Board&) {}).WaitForEnd();
  EXPECT_THAT(board.Gone(Board::Clock::now()),
              AllOf(HasSubstr("rank 5 (host h, pid "), HasSubstr("its process is gone")));
  Rank5(memory, [](Board& own) { own.Leave(); }).WaitForEnd();
  EXPECT_EQ(board.Gone(Board::Clock::now()), "");
  Rank5(memory, [](Board&) { SayLastWords(70, "it failed"); }).WaitForEnd();
  EXPECT_EQ(board.Gone(Board::Clock::now()), "");
}

TEST(Board, GivesEveryRankTheVerdictOfTheFirst) {
  const auto memory = Memory();
  Board first(memory, Place(0)), second(memory, Place(1));
  first.Join();
  second.Join();
  first.Write({}, RankSeen::Phase::kInStep, 2, Board::Clock::now());
  EXPECT_FALSE(second.IsJudged());
  const std::string verdict = first.Judge(Board::Clock::now());
  EXPECT_THAT(verdict, HasSubstr("rank 4"));
  EXPECT_TRUE(second.IsJudged());
  second.Leave();
  EXPECT_EQ(second.Judge(Board::Clock::now() + std::chrono::hours(1)), verdict);
  first.Leave();
}

// Alarms of a watchdog with a board.
class Told {
 public:
  Told(Activity& activity, double seconds, Board& board)
      : dog_(
            activity, seconds, 0,
            [this](const std::string& text, bool stands_still) {
              stands_still_ = stands_still;
              text_.set_value(text);
            },
            &board) {}
  Watchdog& dog() { return dog_; }
  std::string Wait() {
    auto told = text_.get_future();
    return told.wait_for(milliseconds(10000)) == std::future_status::ready ? told.get() : "";
  }
  bool stands_still() const { return stands_still_; }

 private:
  bool stands_still_ = false;
  std::promise<std::string> text_;
  Watchdog dog_;
};

TEST(WatchdogWithABoard, BlamesTheOtherAndSaysWhatItWaitsIn) {
  const auto memory = Memory();
  Board board(memory, Place(0));
  Rank5 other(memory, LiveInAnOperation);
  LookUntil(board, [](const auto& all) { return !all.empty() && !all[0].operations.empty(); });
  kill(other.pid(), SIGSTOP);
  Activity activity;
  Told told(activity, 0.2, board);
  told.dog().BeginStep(37);
  const Activity::Waiting waits(&activity, "all_reduce", activity.Intern("tp of ranks 4, 5"), 8,
                                -1);
  EXPECT_THAT(told.Wait(),
              AllOf(HasSubstr("step 37: nothing has moved for 0 s: rank 5 (host h, pid "),
                    HasSubstr("is to blame: process stopped (signal or debugger), last seen in "
                              "recv[tp of ranks 4, 5] with rank 4, 8 bytes "),
                    HasSubstr("s ago; this rank waits in all_reduce[tp of ranks 4, 5], 8 bytes")));
  EXPECT_TRUE(told.stands_still());
}

TEST(WatchdogWithABoard, TellsOfALostProcessAtOnce) {
  const auto memory = Memory();
  Board board(memory, Place(0));
  Activity activity;
  Told told(activity, 1000, board);
  told.dog().BeginStep(2);
  Rank5(memory, [](Board&) {}).WaitForEnd();
  EXPECT_THAT(told.Wait(), AllOf(HasSubstr("step 2: rank 5 (host h, pid "),
                                 HasSubstr("its process is gone; this rank waits for no other")));
  EXPECT_FALSE(told.stands_still());
}

TEST(WatchdogWithABoard, SaysTheVerdictOfAnotherRankBeforeItsOwnLimit) {
  const auto memory = Memory();
  Board board(memory, Place(0));
  Activity activity;
  Told told(activity, 1000, board);
  told.dog().BeginStep(2);
  Rank5 other(memory, [](Board& own) {
    own.Judge(Board::Clock::now());
    LiveInAnOperation(own);
  });
  EXPECT_THAT(told.Wait(), HasSubstr("step 2: nothing has moved for "));
  EXPECT_TRUE(told.stands_still());
}

}  // namespace
}  // namespace fttrain
