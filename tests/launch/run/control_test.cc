// What signals and files ask of a run at a step's end, on one rank and merged over several.
#include "launch/run/control.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>
#include <vector>

#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// As an all-reduce by maximum does.
Requests Merged(const std::vector<Requests>& ranks) {
  int64_t code = 0;
  for (const Requests& requests : ranks) code = std::max(code, EncodeRequests(requests));
  return DecodeRequests(code);
}

TEST(Requests, AreTheSameOnceDecoded) {
  for (const char* by : {"SIGINT", "SIGTERM", "SIGUSR1", "STOP"}) {
    const Requests stop = Merged({{.stop = true, .save = true, .by = by}});
    EXPECT_TRUE(stop.stop && stop.save);
    EXPECT_EQ(stop.by, by);
  }
  const Requests save = Merged({{.save = true}});
  EXPECT_TRUE(save.save && !save.stop);
  EXPECT_EQ(save.by, "");
  EXPECT_EQ(EncodeRequests({}), 0);
}

TEST(Requests, OfAnyRankAreAllRanks) {
  const Requests nothing, save = {.save = true},
                          term = {.stop = true, .save = true, .by = "SIGTERM"},
                          file = {.stop = true, .save = true, .by = "STOP"};
  EXPECT_TRUE(Merged({nothing, save, nothing}).save);
  EXPECT_FALSE(Merged({nothing, save, nothing}).stop);
  const Requests both = Merged({save, term, nothing});
  EXPECT_TRUE(both.stop && both.save);
  EXPECT_EQ(Merged({file, term}).by, "STOP") << "it asks to stay stopped";
  EXPECT_FALSE(Merged({nothing, nothing}).save);
}

TEST(Requests, OfANumberThatIsNoneAskForNothing) {
  for (const int64_t code : {int64_t{-1}, int64_t{6}, INT64_MAX, INT64_MIN}) {
    const Requests requests = DecodeRequests(code);
    EXPECT_FALSE(requests.stop || requests.save) << code;
  }
}

constexpr milliseconds kAlways{0};

TEST(Control, AFileIsARequestUntilItIsDone) {
  const TempFolder folder;
  Control control(nullptr, folder.path(), kAlways);
  EXPECT_FALSE(control.Look().save);
  folder.Write("SAVE", "");
  Requests requests = control.Look();
  EXPECT_TRUE(requests.save && !requests.stop);
  EXPECT_TRUE(control.Look().save) << "not done yet";
  control.Done(requests);
  EXPECT_FALSE(fs::exists(folder / "SAVE"));
  EXPECT_FALSE(control.Look().save);

  folder.Write("STOP", "");
  folder.Write("SAVE", "");
  requests = control.Look();
  EXPECT_TRUE(requests.stop && requests.save);
  EXPECT_EQ(requests.by, "STOP");
  control.Done(requests);
  EXPECT_EQ(folder.FileCount(), 0u) << "a stop saves as well";
}

TEST(Control, ASaveThatIsDoneLeavesAStopThatCameMeanwhile) {
  const TempFolder folder;
  Control control(nullptr, folder.path(), kAlways);
  folder.Write("SAVE", "");
  const Requests requests = control.Look();
  folder.Write("STOP", "");
  control.Done(requests);
  EXPECT_TRUE(control.Look().stop);
}

TEST(Control, LooksIntoTheFolderAtMostOnceInAWhile) {
  const TempFolder folder;
  Control control(nullptr, folder.path(), milliseconds(300));
  EXPECT_FALSE(control.Look().stop);
  folder.Write("STOP", "");
  EXPECT_FALSE(control.Look().stop);
  std::this_thread::sleep_for(milliseconds(350));
  EXPECT_TRUE(control.Look().stop);
}

TEST(Control, OnlyRegularFilesAreRequests) {
  const TempFolder folder, elsewhere;
  Control control(nullptr, folder.path(), kAlways);
  fs::create_directory(folder / "STOP");
  fs::create_symlink(elsewhere.Write("kept", "x"), folder / "SAVE");
  const Requests requests = control.Look();
  EXPECT_FALSE(requests.stop || requests.save);
  control.Done({.stop = true, .save = true, .by = "SIGTERM"});
  EXPECT_EQ(folder.FileCount(), 2u);
}

TEST(Control, WithoutAFolderHearsSignalsAlone) {
  StopSignals signals;
  Control control(&signals, "");
  EXPECT_FALSE(control.Look().stop);
  raise(SIGUSR2);
  const Requests save = control.Look();
  EXPECT_TRUE(save.save && !save.stop);
  EXPECT_FALSE(control.Look().save);
  raise(SIGTERM);
  const Requests stop = control.Look();
  EXPECT_TRUE(stop.stop && stop.save);
  EXPECT_EQ(stop.by, "SIGTERM");
}

TEST(Control, AFileThatCannotBeRemovedCountsOnce) {
  const TempFolder folder;
  const bool root = geteuid() == 0;  // who may remove everything
  constexpr uid_t kNobody = 65534;
  Control control(nullptr, folder.path(), kAlways);
  folder.Write("SAVE", "");
  fs::permissions(folder.path(), fs::perms::owner_read | fs::perms::owner_exec);
  if (root) {
    ASSERT_EQ(chown(folder.path().c_str(), kNobody, static_cast<gid_t>(-1)), 0);
    ASSERT_EQ(seteuid(kNobody), 0);
  }
  testing::internal::CaptureStdout();
  control.Done(control.Look());
  EXPECT_THAT(testing::internal::GetCapturedStdout(), testing::HasSubstr("cannot remove"));
  EXPECT_FALSE(control.Look().save);
  if (root) {
    ASSERT_EQ(seteuid(0), 0);
  }
  fs::permissions(folder.path(), fs::perms::owner_all);
}

}  // namespace
}  // namespace fttrain
