// The doctor over communicators that are ill, on 2 and 3 ranks: it names the pair and the fix.
#include "launch/doctor/examination.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "tests/launch/doctor/sick_communicator.h"
#include "tests/mpi_test_main.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

struct Visit {
  absl::Status status;
  std::string printed;  // by rank 0
};

Visit VisitWith(CommBackend backend, bool json = false) {
  ExaminationOptions options;
  options.program = "a test";
  options.device = DeviceKind::kCpu;
  options.json = json;
  options.backend = backend;
  options.timeout_seconds = 30;  // of a machine that others keep busy
  options.trial.seconds = 0.01;
  Visit visit;
  ::testing::internal::CaptureStdout();
  visit.status = Examine(options, TestProcess());
  visit.printed = ::testing::internal::GetCapturedStdout();
  return visit;
}

// "rank 0 and rank 1" of two, "rank 1 and rank 2" of three.
std::string LastPair() {
  const int ranks = TestProcess().world_size();
  return absl::StrCat("the pair of rank ", ranks - 2, " and rank ", ranks - 1);
}

// What rank 0 alone has said; the status is every rank's.
void ExpectSaid(const Visit& visit, const ::testing::Matcher<const std::string&>& matcher) {
  if (TestProcess().rank() == 0) {
    EXPECT_THAT(visit.printed, matcher);
  } else {
    EXPECT_EQ(visit.printed, "");
  }
}

TEST(Doctor, FindsNothingWrongWithRanksThatAreWell) {
  const Visit visit = VisitWith(SickBackend(Sickness::kNone));
  EXPECT_EQ(ExitCode(visit.status), 0) << visit.status;
  // On a machine that others keep busy the pair is told to be slow for that.
  ExpectSaid(visit, AllOf(AnyOf(HasSubstr("every byte right"), HasSubstr("the host is busy")),
                          HasSubstr("every sum right"), HasSubstr("0 errors")));
}

TEST(Doctor, TakesTheWayOfARunWhereNoneIsGiven) {
  const Visit visit = VisitWith(nullptr);
  EXPECT_EQ(ExitCode(visit.status), 0) << visit.status;
  ExpectSaid(visit, HasSubstr(absl::StrCat(TestProcess().world_size(), " ranks over MPI")));
}

TEST(Doctor, NamesThePairThatCorrupts) {
  const Visit visit = VisitWith(SickBackend(Sickness::kCorrupts));
  EXPECT_EQ(ExitCode(visit.status), kExitNumerics);
  EXPECT_THAT(std::string(visit.status.message()), HasSubstr(LastPair()));
  ExpectSaid(visit, AllOf(HasSubstr(LastPair()), HasSubstr("arrived wrong, the first at 1000"),
                          HasSubstr("fix: mpirun --mca btl_vader_single_copy_mechanism none"),
                          HasSubstr("1 error,")));
}

TEST(Doctor, NamesThePairThatIsSlow) {
  const Visit visit = VisitWith(SickBackend(Sickness::kSlow));
  EXPECT_EQ(ExitCode(visit.status), kExitIo);
  ExpectSaid(visit, AllOf(HasSubstr(LastPair()), HasSubstr("is slow: "),
                          HasSubstr("fix: look at what else runs on the host")));
}

TEST(Doctor, NamesTheRankWhoseSumsAreWrong) {
  const Visit visit = VisitWith(SickBackend(Sickness::kSumsWrong));
  EXPECT_EQ(ExitCode(visit.status), kExitNumerics);
  const int last = TestProcess().world_size() - 1;
  ExpectSaid(visit, HasSubstr(absl::StrCat("is wrong on rank ", last)));
}

TEST(Doctor, TellsProgramsAllThatWasMeasured) {
  const Visit visit = VisitWith(SickBackend(Sickness::kCorrupts), /*json=*/true);
  if (TestProcess().rank() > 0) return;
  const auto json = nlohmann::json::parse(visit.printed);
  EXPECT_FALSE(json["ok"]);
  EXPECT_EQ(json["measured"]["ranks"].size(), TestProcess().world_size());
  EXPECT_EQ(json["measured"]["hosts"].size(), 1);
  EXPECT_GT(json["measured"]["links"]["pairs"].back()["forward"]["wrong_bytes"], 0);
}

}  // namespace
}  // namespace fttrain
