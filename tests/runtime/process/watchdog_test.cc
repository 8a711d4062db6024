// Who stands still is told, in words, and who moves is left alone.
#include "runtime/process/watchdog.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "runtime/comm/issued_operations.h"

namespace fttrain {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Where an alarm comes, it comes fast; where none does, a busy machine must not cause one.
constexpr double kShort = 0.2, kSafe = 2;

// One that keeps its alarm.
class Kept {
 public:
  Kept(Activity& activity, double seconds, double first_seconds = 0)
      : dog_(activity, seconds, first_seconds, [this](const std::string& text, bool stands_still) {
          stands_still_ = stands_still;
          text_.set_value(text);
        }) {}
  Watchdog& dog() { return dog_; }
  // Empty if there is none for `wait`.
  std::string Alarm(milliseconds wait) {
    if (told_.wait_for(wait) != std::future_status::ready) return "";
    return told_.get();
  }
  bool stands_still() const { return stands_still_; }  // after an alarm

 private:
  bool stands_still_ = false;
  std::promise<std::string> text_;
  std::future<std::string> told_ = text_.get_future();
  Watchdog dog_;
};

constexpr milliseconds kLong{10000};  // never waited for where all is well

TEST(Watchdog, NamesTheOperationThatARankStandsIn) {
  Activity activity;
  Kept kept(activity, kShort);
  kept.dog().BeginStep(3);
  const Activity::Waiting waits(&activity, "recv",
                                activity.Intern("activations between stages 0 and 1 of ranks 4, 5"),
                                4096, 4);
  const Activity::Waiting within(&activity, "send", activity.Intern("another"), 1, 1);
  EXPECT_THAT(kept.Alarm(kLong),
              AllOf(HasSubstr("step 3: nothing has moved for "),
                    HasSubstr("this rank waits in recv[activations between stages 0 and 1 of ranks "
                              "4, 5] with rank 4, 4096 bytes")));
}

TEST(Watchdog, SaysOfARankThatWaitsForNoOtherThatItIsTheOne) {
  Activity activity;
  Kept kept(activity, kShort);
  kept.dog().BeginStep(2);
  { const Activity::Waiting done(&activity, "recv", activity.Intern("tp"), 1, 1); }
  EXPECT_THAT(kept.Alarm(kLong), HasSubstr("waits for no other: it computes"));
}

TEST(Watchdog, LeavesAloneWhoMovesHoweverLong) {
  Activity activity;
  Kept kept(activity, kSafe);
  kept.dog().BeginStep(2);
  for (int i = 0; i < 10; ++i) {
    const Activity::Waiting waits(&activity, "recv", activity.Intern("tp"), 1, 1);
    EXPECT_EQ(kept.Alarm(milliseconds(250)), "");
  }
  for (int step = 3; step < 13; ++step) {
    kept.dog().BeginStep(step);
    EXPECT_EQ(kept.Alarm(milliseconds(250)), "");
  }
}

TEST(Watchdog, LeavesAloneWhoComputes) {
  Activity activity;
  Kept kept(activity, kSafe);
  kept.dog().BeginStep(2);
  for (int i = 0; i < 10; ++i) {
    activity.Moved();
    EXPECT_EQ(kept.Alarm(milliseconds(250)), "");
  }
}

TEST(Watchdog, WaitsForNothingWhileItRests) {
  Activity activity;
  Kept kept(activity, kShort);
  kept.dog().BeginStep(2);
  kept.dog().BeginStep(3);
  kept.dog().Rest();
  EXPECT_EQ(kept.Alarm(milliseconds(1000)), "");
  kept.dog().BeginStep(3);
  EXPECT_THAT(kept.Alarm(kLong), HasSubstr("step 3"));
  EXPECT_TRUE(kept.stands_still());
}

TEST(Watchdog, DoesNotCountTheTimeInWhichTheProcessIsSuspended) {
  Activity activity;
  Kept kept(activity, kSafe);
  kept.dog().BeginStep(2);
  const Activity::Waiting waits(&activity, "recv", activity.Intern("tp"), 1, 1);
  const pid_t parent = getpid(), child = fork();
  if (child == 0) {
    sleep(4);
    kill(parent, SIGCONT);
    _exit(0);
  }
  raise(SIGSTOP);
  EXPECT_EQ(kept.Alarm(milliseconds(600)), "");
  waitpid(child, nullptr, 0);
}

TEST(Watchdog, CountsComputingAndWaitingApart) {
  Activity activity;
  Kept kept(activity, kSafe);
  kept.dog().BeginStep(2);
  kept.dog().BeginStep(3);
  EXPECT_EQ(kept.Alarm(milliseconds(1300)), "");
  const Activity::Waiting waits(&activity, "recv", activity.Intern("tp"), 1, 1);
  EXPECT_EQ(kept.Alarm(milliseconds(1300)), "");
}

TEST(Watchdog, HasPatienceWithTheFirstStepAndExpectsNothingBeforeIt) {
  Activity activity;
  Kept kept(activity, kShort, /*first_seconds=*/1000);
  EXPECT_EQ(kept.Alarm(milliseconds(500)), "");
  kept.dog().BeginStep(1);
  EXPECT_EQ(kept.Alarm(milliseconds(500)), "");
  kept.dog().BeginStep(2);
  EXPECT_THAT(kept.Alarm(kLong), HasSubstr("step 2"));
}

TEST(Watchdog, WithoutALimitNeverAlarms) {
  Activity activity;
  Watchdog dog(activity, 0, 0, [](const std::string& text, bool) { ADD_FAILURE() << text; });
  dog.BeginStep(1);
  dog.BeginStep(2);
  std::this_thread::sleep_for(milliseconds(300));
}

struct FakeEvent {
  std::atomic<bool> finished{false};
  bool query() const { return finished; }
};

// A stream whose host has gone on.
class FakeStream : public Activity::Source {
 public:
  std::shared_ptr<FakeEvent> Issue(const char* name) {
    auto event = std::make_shared<FakeEvent>();
    issued_.Add({name, 8, 1, 0, event});
    return event;
  }
  State Look() override {
    State state = issued_.Look("gradients of ranks 0, 1");
    if (fails) state.error = "NCCL reports of tp: remote error";
    return state;
  }
  std::atomic<bool> fails{false};

 private:
  IssuedOperations<FakeEvent> issued_;
};

TEST(Watchdog, NamesTheOldestOperationThatADeviceHasNotFinished) {
  Activity activity;
  FakeStream stream;
  activity.Add(&stream);
  Kept kept(activity, kSafe);
  kept.dog().BeginStep(2);
  std::vector<std::shared_ptr<FakeEvent>> events;
  for (int i = 0; i < 1000; ++i) events.push_back(stream.Issue(i == 600 ? "recv" : "send"));
  for (int i = 0; i < 6; ++i) {  // a device that gets on, whatever its host does
    EXPECT_EQ(kept.Alarm(milliseconds(400)), "");
    for (int j = 0; j < 100; ++j) events[static_cast<size_t>(100 * i + j)]->finished = true;
  }
  EXPECT_EQ(stream.Look().finished, 600);
  EXPECT_THAT(kept.Alarm(kLong),
              HasSubstr("waits in recv[gradients of ranks 0, 1] with rank 1, 8 bytes"));
  activity.Remove(&stream);
}

TEST(Watchdog, TellsWhatATransportReports) {
  Activity activity;
  FakeStream stream;
  activity.Add(&stream);
  Kept kept(activity, 1000);
  kept.dog().BeginStep(1);
  stream.fails = true;
  EXPECT_EQ(kept.Alarm(kLong), "step 1: NCCL reports of tp: remote error");
  EXPECT_FALSE(kept.stands_still());
  activity.Remove(&stream);
}

// What is finished is let go without anyone who looks.
TEST(IssuedOperations, KeepsWhatIsOpenAndTheLast) {
  FakeStream stream;
  std::vector<std::weak_ptr<FakeEvent>> events;
  for (int i = 0; i < 5000; ++i) {
    const auto event = stream.Issue("send");
    event->finished = true;
    events.push_back(event);
  }
  EXPECT_LE(std::count_if(events.begin(), events.end(), [](const auto& e) { return !e.expired(); }),
            1);
}

}  // namespace
}  // namespace fttrain
