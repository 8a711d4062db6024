// Every system call of a save fails once, in every way that it can.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "tests/launch/checkpoint/saves.h"
#include "tests/runtime/files/failing_system_calls.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Failure {
  const char* name;
  int error;
  bool done_although = false, for_good = false;
  // Signals and short transfers are none of the caller's business.
  bool invisible() const { return error == EINTR || error == 0; }
};

void PrintTo(const Failure& failure, std::ostream* out) { *out << failure.name; }

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator open("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(open), end(open)));
}

class EveryCall : public testing::TestWithParam<Failure> {
 protected:
  EveryCall() : files_(FileSystemOver(calls_)), folder_(*files_, output_.path()) {
    for (const int64_t step : {1, 2}) {
      EXPECT_EQ(Save(*files_, output_.path(), {step, "before"}), absl::OkStatus());
    }
    calls_.error = GetParam().error;
    calls_.done_although = GetParam().done_although;
    calls_.for_good = GetParam().for_good;
  }

  // From now on the k-th call fails; all work with -1.
  void Fail(int k) {
    calls_.calls = 0;
    calls_.fails = k;
  }

  void ExpectClean(const absl::Status& status) {
    EXPECT_FALSE(GetParam().invisible()) << status;
    EXPECT_THAT(ErrorText(status), HasSubstr(output_.path()));
    const bool full = GetParam().error == ENOSPC || GetParam().error == EDQUOT;
    EXPECT_EQ(status.code(),
              full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable)
        << status;
  }

  Listing ListSound() {
    absl::StatusOr<Listing> listing = folder_.List();
    EXPECT_EQ(listing.status(), absl::OkStatus());
    if (!listing.ok()) return {};
    for (const Committed& each : listing->committed) EXPECT_EQ(Difference(*files_, each), "");
    EXPECT_THAT(listing->rejected, IsEmpty());
    return *std::move(listing);
  }

  TempFolder output_;
  FailingSystemCalls calls_;
  std::unique_ptr<FileSystem> files_;
  CheckpointFolder folder_;
};

TEST_P(EveryCall, OfASaveMayFailOnce) {
  const size_t descriptors = OpenDescriptors();
  int k = 0, failed = 0;
  for (bool reached = true; reached; ++k) {
    SCOPED_TRACE(absl::StrCat("call ", k));
    Fail(k);
    const absl::Status saved = Save(*files_, output_.path(), {3, "first"});
    reached = calls_.calls > k;
    Fail(-1);
    EXPECT_EQ(OpenDescriptors(), descriptors);
    if (!saved.ok()) {
      ++failed;
      ExpectClean(saved);
      const Listing before = ListSound();
      // A process that died at the last fsync had renamed already: complete, but not called saved.
      const bool renamed = GetParam().for_good && before.committed.size() == 3;
      const std::vector<int64_t> want =
          renamed ? std::vector<int64_t>{3, 2, 1} : std::vector<int64_t>{2, 1};
      EXPECT_EQ(Steps(before), want);
      EXPECT_TRUE(GetParam().for_good || before.leftovers.empty());
      // What a dead process left is removed by the next.
      EXPECT_EQ(folder_.CleanUp(), absl::OkStatus());
      if (!renamed) {
        ASSERT_EQ(Save(*files_, output_.path(), {3, "second"}), absl::OkStatus());
      }
    }
    const Listing after = ListSound();
    ASSERT_THAT(Steps(after), ElementsAre(3, 2, 1));
    EXPECT_THAT(after.leftovers, IsEmpty());
    ASSERT_EQ(RemoveTree(*files_, after.committed[0].path), absl::OkStatus());
    if (HasFailure()) return;
  }
  EXPECT_GT(k, 100);
  EXPECT_EQ(failed == 0, GetParam().invisible());
  std::cout << GetParam().name << ": " << k << " calls, " << failed << " saves failed\n";
}

// After a commit: LATEST, then retention.
TEST_P(EveryCall, OfARetentionMayFailOnce) {
  bool reached = true;
  for (int k = 0; reached; ++k) {
    SCOPED_TRACE(absl::StrCat("call ", k));
    const std::string nonce = absl::StrCat("retain", k);
    Fail(-1);
    ASSERT_EQ(Save(*files_, output_.path(), {10 + k, nonce}), absl::OkStatus());
    Fail(k);
    const absl::Status latest = folder_.PointLatest({10 + k, nonce, ""});
    const absl::Status retained = folder_.Retain(1, {2}, nonce);
    reached = calls_.calls > k;
    Fail(-1);
    if (!latest.ok()) ExpectClean(latest);
    if (!retained.ok()) ExpectClean(retained);
    const Listing after = ListSound();
    ASSERT_FALSE(after.committed.empty());
    EXPECT_EQ(Steps(after).front(), 10 + k);
    EXPECT_LE(Steps(after).back(), 2);
    EXPECT_EQ(folder_.Retain(1, {2}, nonce + "again"), absl::OkStatus());
    EXPECT_EQ(folder_.CleanUp(), absl::OkStatus());
    EXPECT_THAT(Steps(ListSound()), ElementsAre(10 + k, 2));
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(In, EveryCall,
                         testing::Values(Failure{"ENOSPC", ENOSPC}, Failure{"EIO", EIO},
                                         Failure{"EDQUOT", EDQUOT}, Failure{"EINTR", EINTR},
                                         Failure{"Short", 0}, Failure{"DoneAlthoughEIO", EIO, true},
                                         Failure{"Dead", EIO, false, true}),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace fttrain
