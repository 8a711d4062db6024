// What signals ask of a run, and that a second one ends it.
#include "runtime/process/stop_signals.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "runtime/process/last_words.h"

namespace fttrain {
namespace {

using std::chrono::milliseconds;

// How a child ends that does this: its exit code, or minus the signal that ended it.
int EndOfChild(const std::function<int()>& act) {
  const pid_t child = fork();
  if (child == 0) _exit(act());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(StopSignals, AskForNothingByThemselves) {
  StopSignals signals;
  const StopSignals::Requests requests = signals.Look();
  EXPECT_FALSE(requests.stop);
  EXPECT_FALSE(requests.save);
  EXPECT_EQ(requests.signal, nullptr);
}

TEST(StopSignals, AskToStopOnceAndForAll) {
  for (const auto& [signal, name] : {std::pair(SIGTERM, "SIGTERM"), std::pair(SIGUSR1, "SIGUSR1"),
                                     std::pair(SIGINT, "SIGINT")}) {
    StopSignals signals;
    raise(signal);
    for (int look = 0; look < 2; ++look) {
      const StopSignals::Requests requests = signals.Look();
      EXPECT_TRUE(requests.stop);
      EXPECT_FALSE(requests.save);
      EXPECT_STREQ(requests.signal, name);
    }
  }
}

TEST(StopSignals, AskToSaveAsOftenAsTheyCome) {
  StopSignals signals;
  for (int round = 0; round < 3; ++round) {
    raise(SIGUSR2);
    const StopSignals::Requests requests = signals.Look();
    EXPECT_TRUE(requests.save);
    EXPECT_FALSE(requests.stop);
    EXPECT_FALSE(signals.Look().save);
  }
}

// `timeout` and batch systems send a signal to a process and to its group.
TEST(StopSignals, ThatComeTwiceAtOnceAreOneRequest) {
  EXPECT_EQ(EndOfChild([] {
              StopSignals signals;
              for (int i = 0; i < 3; ++i) raise(SIGTERM);
              raise(SIGUSR1);
              return std::string(signals.Look().signal) == "SIGTERM" ? 75 : 1;
            }),
            75);
}

TEST(StopSignals, TheSecondEndsTheProcessAtOnceWhichEverItIs) {
  for (const int second : {SIGTERM, SIGUSR1, SIGINT}) {
    EXPECT_EQ(EndOfChild([second] {
                StopSignals signals;
                raise(SIGUSR1);
                std::this_thread::sleep_for(milliseconds(600));
                raise(second);
                return 75;
              }),
              -second);
  }
}

TEST(StopSignals, OneToSaveIsNoSecondStop) {
  EXPECT_EQ(EndOfChild([] {
              StopSignals signals;
              raise(SIGTERM);
              std::this_thread::sleep_for(milliseconds(600));
              raise(SIGUSR2);
              return signals.Look().save ? 75 : 1;
            }),
            75);
}

TEST(StopSignals, LeaveSignalsAsTheyWereOnceGone) {
  EXPECT_EQ(EndOfChild([] {
              { const StopSignals signals; }
              raise(SIGTERM);
              return 0;
            }),
            -SIGTERM);
  { const StopSignals before; }
  StopSignals signals;  // what the one before was asked is not asked of this one
  EXPECT_FALSE(signals.Look().stop);
}

TEST(StopSignals, DoNotInterruptAReadThatWaits) {
  EXPECT_EQ(EndOfChild([] {
              const StopSignals signals;
              int ends[2];
              if (pipe(ends) != 0) return 1;
              const pid_t reader = getpid();
              if (fork() == 0) {
                usleep(100000);
                kill(reader, SIGUSR1);
                usleep(100000);
                (void)!write(ends[1], "x", 1);
                _exit(0);
              }
              char byte = 0;
              return read(ends[0], &byte, 1) == 1 ? 75 : 1;
            }),
            75);
}

TEST(LastWords, AreSaidOnce) {
  std::string said;
  SetLastWords([&](int code, const std::string& text) { said += std::to_string(code) + text; });
  SayLastWords(81, " the first");
  SayLastWords(70, " the second");
  EXPECT_EQ(said, "81 the first");
}

TEST(LastWords, ThatFailDoNotHoldUpTheEnd) {
  SetLastWords([](int, const std::string&) { throw std::string("no room"); });
  SayLastWords(70, "text");
  SetLastWords([](int, const std::string&) { FAIL() << "said after all"; });
  SetLastWords(nullptr);
  SayLastWords(70, "text");
}

// A file server that does not answer must not keep a process that has to end.
TEST(LastWords, ThatHangDoNotHoldUpTheEnd) {
  static std::atomic<bool> ended{false};
  SetLastWords([](int, const std::string&) {
    while (!ended) std::this_thread::sleep_for(milliseconds(10));
  });
  const auto start = std::chrono::steady_clock::now();
  SayLastWords(81, "text");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  ended = true;
}

// So that the run whose words they are may go.
TEST(LastWords, AreSaidToTheEndBeforeOthersTakeTheirPlace) {
  std::atomic<bool> begun{false}, ended{false};
  SetLastWords([&](int, const std::string&) {
    begun = true;
    std::this_thread::sleep_for(milliseconds(100));
    ended = true;
  });
  std::thread speaker([] { SayLastWords(81, "text"); });
  while (!begun) std::this_thread::yield();
  SetLastWords(nullptr);
  EXPECT_TRUE(ended);
  speaker.join();
}

}  // namespace
}  // namespace fttrain
