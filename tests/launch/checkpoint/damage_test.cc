// Checkpoints that were damaged, and links that were planted: found, named, never followed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "runtime/files/whole_file.h"
#include "tests/launch/checkpoint/on_disk.h"
#include "tests/launch/checkpoint/saves.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using enum absl::StatusCode;

const char* const kFiles[] = {"shard-r0000.safetensors", "shard-r0001.safetensors",
                              "adapter_config.json", "manifest.json", "COMMIT"};

class Damage : public OnDisk {
 protected:
  // What a loader says of step 2: the list's reason, or that of a file that it verifies.
  absl::Status Verdict() {
    const Listing listing = List();
    for (const Rejected& each : listing.rejected) return each.why;
    const Committed& newest = listing.committed.at(0);
    for (const ManifestFile& file : newest.manifest.files) {
      const absl::Status verified = VerifyFile(files_, newest, file);
      if (!verified.ok()) return verified;
    }
    return absl::OkStatus();
  }
  void Write(const std::string& name, const std::string& contents) {
    output_.Write("checkpoints/step-2/" + name, contents);
  }
};

TEST_F(Damage, OfAnyByteIsFoundAndItsFileNamed) {
  SaveSteps({1, 2});
  ASSERT_EQ(Verdict(), absl::OkStatus());
  std::mt19937 random(5);
  for (int trial = 0; trial < 500; ++trial) {
    const std::string name = kFiles[trial % std::size(kFiles)];
    const std::string before = ReadFile(In("step-2/" + name)).value();
    std::string after = before;
    const size_t at = random() % after.size();
    after[at] = static_cast<char>(after[at] ^ (1 << random() % 8));
    Write(name, after);
    // COMMIT and the manifest speak of each other: which of the two is damaged, nobody can tell.
    EXPECT_THAT(Verdict(), IsError(kDataLoss, name)) << "byte " << at;
    EXPECT_THAT(Verdict(), IsError(kDataLoss, In("step-2/")));
    Write(name, before);
  }
  EXPECT_EQ(Verdict(), absl::OkStatus());
}

TEST_F(Damage, OfASizeIsFoundWithoutReadingAndTheOlderCheckpointStays) {
  SaveSteps({1, 2});
  for (const std::string name : kFiles) {
    const std::string before = ReadFile(In("step-2/" + name)).value();
    for (const std::string& after : {std::string(), before.substr(1), before + "x"}) {
      Write(name, after);
      const Listing listing = List();
      EXPECT_THAT(Steps(listing), ElementsAre(1));
      ASSERT_THAT(listing.rejected, SizeIs(1));
      EXPECT_THAT(listing.rejected[0].why, IsError(kDataLoss, name));
    }
    fs::remove(In("step-2/" + name));
    EXPECT_THAT(Verdict(), IsError(kDataLoss, In("step-2/" + name)));
    fs::create_directory(In("step-2/" + name));
    EXPECT_THAT(Verdict(), IsError(kDataLoss, In("step-2/" + name)));
    fs::remove(In("step-2/" + name));
    Write(name, before);
  }
  EXPECT_EQ(Verdict(), absl::OkStatus());
}

TEST_F(Damage, AStepUnderAnothersNameIsNone) {
  SaveSteps({1});
  fs::rename(In("step-1"), In("step-3"));
  EXPECT_THAT(List().rejected.at(0).why, IsError(kDataLoss, "it is of step 1, not 3"));
}

TEST_F(Damage, LatestIsAHintThatNobodyReads) {
  SaveSteps({1, 2});
  ASSERT_EQ(folder_.PointLatest({2, "n", ""}), absl::OkStatus());
  EXPECT_EQ(ReadFile(In("LATEST")).value_or(""), "step-2\n");
  for (const char* contents : {"", "step-99\n", "\x01\xff garbage", "../../etc"}) {
    output_.Write("checkpoints/LATEST", contents);
    EXPECT_THAT(Steps(List()), ElementsAre(2, 1));
  }
  ASSERT_EQ(folder_.PointLatest({2, "n", ""}), absl::OkStatus());
  EXPECT_EQ(ReadFile(In("LATEST")).value_or(""), "step-2\n");
}

TEST_F(Damage, AnOutputFolderMayBeALinkButNotItsCheckpoints) {
  fs::create_directory_symlink(output_.path(), outside_ / "linked");
  ASSERT_EQ(Save(files_, outside_ / "linked", {1, "n1"}), absl::OkStatus());
  EXPECT_THAT(Steps(List()), ElementsAre(1));
  const TempFolder other;
  fs::create_directory_symlink(Outside(), other / "checkpoints");
  CheckpointFolder linked(files_, other.path());
  EXPECT_THAT(linked.MakeStaging(1, "n"), IsError(kInvalidArgument, "a symbolic link; move it"));
  EXPECT_THAT(linked.List(), IsError(kInvalidArgument, "symbolic link"));
  EXPECT_THAT(linked.CleanUp(), IsError(kInvalidArgument, "symbolic link"));
  ExpectOutsideIsAsItWas();
}

TEST_F(Damage, PlantedLinksAreNotFollowed) {
  SaveSteps({1, 2, 3});
  const std::string target = Outside();
  // In the place of a staging folder, of a shard, of LATEST and its temporary file.
  fs::create_directory_symlink(target, In(".tmp-step-4.n"));
  EXPECT_THAT(folder_.MakeStaging(4, "n"), IsError(kAlreadyExists, In(".tmp-step-4.n")));
  EXPECT_THAT(folder_.OpenStaging(4, "n"), IsError(kInvalidArgument, "a symbolic link"));
  ASSERT_EQ(folder_.MakeStaging(4, "m").status(), absl::OkStatus());
  fs::create_symlink(target + "/kept", In(".tmp-step-4.m/shard-r0000.safetensors"));
  EXPECT_THAT(WriteShard(files_, In(".tmp-step-4.m"), 0, {}),
              IsError(kAlreadyExists, "shard-r0000"));
  fs::create_symlink(target + "/kept", In("LATEST"));
  fs::create_symlink(target + "/kept", In(".tmp-LATEST.n"));
  EXPECT_THAT(folder_.PointLatest({3, "n", ""}), IsError(kAlreadyExists, ".tmp-LATEST.n"));
  EXPECT_EQ(folder_.PointLatest({3, "m", ""}), absl::OkStatus());
  EXPECT_FALSE(fs::is_symlink(In("LATEST")));
  ExpectOutsideIsAsItWas();
  // In the place of a checkpoint, and in one.
  fs::rename(In("step-3"), outside_ / "step-3");
  fs::create_directory_symlink(outside_ / "step-3", In("step-3"));
  fs::rename(In("step-2/shard-r0000.safetensors"), outside_ / "shard");
  fs::create_symlink(outside_ / "shard", In("step-2/shard-r0000.safetensors"));
  const Listing listing = List();
  EXPECT_THAT(Steps(listing), ElementsAre(1));
  EXPECT_THAT(listing.rejected, SizeIs(2));
  for (const Rejected& each : listing.rejected)
    EXPECT_THAT(each.why, IsError(kDataLoss, each.path));
  SaveSteps({3});
  EXPECT_TRUE(fs::exists(outside_ / "step-3/COMMIT"));
  EXPECT_EQ(folder_.CleanUp(), absl::OkStatus());
  EXPECT_TRUE(fs::exists(outside_ / "step-3/COMMIT"));
  EXPECT_THAT(List().leftovers, IsEmpty());
  ExpectOutsideIsAsItWas();
}

}  // namespace
}  // namespace fttrain
