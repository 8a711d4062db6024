// A run saves, and the power goes: at every moment, with everything that was not synced lost, torn
// or done in another order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "tests/launch/checkpoint/saves.h"
#include "tests/runtime/files/recording_file_system.h"

namespace fttrain {
namespace {

constexpr int kKeep = 2;

// The output folder as a run finds it: made, and lasting.
const char kOutput[] = "/out";

struct Story {
  RecordingFileSystem files;
  std::vector<std::pair<size_t, int64_t>> saved;  // operations done when a step was called saved

  // Empty, or what went wrong without any power cut.
  std::string error;
  void Expect(const absl::Status& status, const char* what) {
    if (!status.ok() && error.empty()) error = absl::StrCat(what, ": ", status.ToString());
  }
  void SaveStep(int64_t step, const char* nonce, const std::set<int64_t>& also_keep) {
    Expect(Save(files, kOutput, {step, nonce}), "save");
    saved.emplace_back(files.operations(), step);
    CheckpointFolder folder(files, kOutput);
    Expect(folder.PointLatest({step, nonce, ""}), "LATEST");
    Expect(folder.Retain(kKeep, also_keep, nonce), "retention");
  }
};

// Steps 1 to 4; an attempt that was given up; a run that was killed while it saved; the next one,
// which goes on from step 4, and finds a folder in the place of step 6 that is no checkpoint.
void Record(Story& run) {
  run.Expect(run.files.MakeFolder(kOutput), "output");
  run.Expect(run.files.SyncFolder("/"), "output");
  CheckpointFolder folder(run.files, kOutput);
  run.Expect(folder.CleanUp(), "clean up");
  run.SaveStep(1, "a", {});
  run.SaveStep(2, "b", {});
  const absl::StatusOr<StagedStep> given_up = HalfSave(run.files, kOutput, {3, "c"});
  run.Expect(given_up.status(), "half a save");
  run.Expect(folder.Abandon(*given_up), "abandon");
  run.SaveStep(3, "d", {});
  run.SaveStep(4, "e", {});
  run.Expect(HalfSave(run.files, kOutput, {5, "f"}).status(), "half a save");
  run.Expect(folder.CleanUp(), "clean up");
  run.SaveStep(5, "g", {4});
  const absl::StatusOr<StagedStep> junk = HalfSave(run.files, kOutput, {6, "h"});
  run.Expect(run.files.Rename(junk->path, absl::StrCat(folder.path(), "/step-6")), "junk");
  run.SaveStep(6, "i", {4});
}

// What is wrong with a disk on which `newest` (-1: none) was called saved, of `count` such steps.
std::string Violation(FileSystem& files, int64_t newest, size_t count) {
  CheckpointFolder folder(files, kOutput);
  const absl::Status cleaned = folder.CleanUp();
  if (!cleaned.ok()) return absl::StrCat("clean up: ", cleaned.ToString());
  const absl::StatusOr<Listing> listing = folder.List();
  if (!listing.ok()) return absl::StrCat("list: ", listing.status().ToString());
  if (!listing->leftovers.empty()) return absl::StrCat(listing->leftovers[0], " is left");
  for (const Committed& each : listing->committed) {
    const std::string difference = Difference(files, each);
    if (!difference.empty()) return absl::StrCat(each.path, ": ", difference);
  }
  const size_t least = std::min<size_t>(count, kKeep);
  if (listing->committed.size() < least) {
    return absl::StrCat(listing->committed.size(), " checkpoints, not ", least);
  }
  if (newest >= 0 && listing->committed[0].step < newest) {
    return absl::StrCat("step ", listing->committed[0].step, " is the newest, not ", newest);
  }
  return "";
}

// Recovers, saves once more, and loses power while doing so.
std::string Recover(RecordingFileSystem& files, int64_t newest, size_t count,
                    std::mt19937_64& random) {
  std::string violation = Violation(files, newest, count);
  if (!violation.empty()) return violation;
  const size_t cleaned = files.operations();
  const absl::Status again = Save(files, kOutput, {100, "again"}, /*read_back=*/false);
  if (!again.ok()) return absl::StrCat("another save: ", again.ToString());
  const size_t saved = files.operations();
  violation = Violation(files, 100, count + 1);
  if (!violation.empty()) return absl::StrCat("after another save: ", violation);
  const size_t cut = random() % (files.operations() + 1);
  const std::unique_ptr<RecordingFileSystem> after = files.AfterPowerCut(cut, random);
  violation = cut >= saved ? Violation(*after, 100, count + 1) : Violation(*after, newest, count);
  return violation.empty() ? ""
                           : absl::StrCat("cut again at ", cut, " (", cleaned, "): ", violation);
}

// Violations of `states` crash states; the first is printed if none is expected.
int Replay(const Story& run, int64_t states, uint64_t seed, bool print) {
  std::mt19937_64 random(seed);
  const size_t operations = run.files.operations();
  int violations = 0;
  for (int64_t i = 0; i < states; ++i) {
    // After the operations that make the output folder.
    const size_t cut = 2 + static_cast<size_t>(i) % (operations - 1);
    int64_t newest = -1;
    size_t count = 0;
    for (const auto& [done, step] : run.saved) {
      if (done <= cut) newest = step, ++count;
    }
    const std::unique_ptr<RecordingFileSystem> after = run.files.AfterPowerCut(cut, random);
    const std::string violation = Recover(*after, newest, count, random);
    if (violation.empty()) continue;
    if (print && violations < 5) {
      std::cout << "power cut after " << cut << " operations: " << violation << "\n";
    }
    ++violations;
  }
  return violations;
}

TEST(PowerCut, LosesNoSavedStepAndLeavesNoMixture) {
  Story run;
  Record(run);
  ASSERT_EQ(run.error, "");
  const char* const wanted = std::getenv("FTTRAIN_CRASH_STATES");
  const int64_t states = wanted == nullptr ? 1000 : std::max(1, std::atoi(wanted) / 2);
  EXPECT_EQ(Replay(run, states, /*seed=*/1, /*print=*/true), 0);
  // Each is followed by a second cut, during the recovery.
  std::cout << 2 * states << " crash states over " << run.files.operations() << " operations\n";
}

// The replay is of use only as long as it sees what it looks for.
TEST(PowerCut, AMissingFsyncIsSeen) {
  Story files, folders;
  files.files.forget_file_syncs = true;
  folders.files.forget_folder_syncs = true;
  Record(files);
  Record(folders);
  EXPECT_GT(Replay(files, 300, /*seed=*/2, /*print=*/false), 0);
  EXPECT_GT(Replay(folders, 300, /*seed=*/3, /*print=*/false), 0);
}

}  // namespace
}  // namespace fttrain
