// Checkpoints on a real disk: what is written is read, what is in the way is not lost.
#include "launch/checkpoint/checkpoint_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "launch/checkpoint/names.h"
#include "runtime/files/safetensors.h"
#include "runtime/files/whole_file.h"
#include "tests/launch/checkpoint/on_disk.h"
#include "tests/launch/checkpoint/saves.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using enum absl::StatusCode;

TEST_F(OnDisk, WhatWasSavedIsListedNewestFirstAndEqual) {
  EXPECT_TRUE(List().nothing_here());
  SaveSteps({1, 2, 10});
  const Listing listing = List();
  EXPECT_THAT(Steps(listing), ElementsAre(10, 2, 1));
  for (const Committed& each : listing.committed) EXPECT_EQ(Difference(files_, each), "");
  EXPECT_THAT(listing.rejected, IsEmpty());
  EXPECT_THAT(listing.leftovers, IsEmpty());
  const Manifest& manifest = listing.committed[0].manifest;
  EXPECT_EQ(manifest.files[1].host, "host-1");
  EXPECT_EQ(manifest.tensors[0].name, "layers.0.q_proj.lora_A.weight");
  EXPECT_EQ(manifest.layout, "tensor 2");
}

TEST_F(OnDisk, AShardIsASafetensorsFileWhoseRangesTheManifestNames) {
  SaveSteps({7});
  const Committed saved = List().committed.at(0);
  const auto shard = SafetensorsFile::Open(In("step-7/shard-r0001.safetensors"));
  ASSERT_EQ(shard.status(), absl::OkStatus());
  EXPECT_THAT((*shard)->entries(), SizeIs(4));
  for (const ManifestTensor& tensor : saved.manifest.tensors) {
    if (tensor.file != "shard-r0001.safetensors") continue;
    const std::string name =
        absl::StrCat(tensor.name, "|", tensor.kind, "|", tensor.offset, "|", tensor.begin);
    const SafetensorsEntry& entry = (*shard)->entries().at(name);
    EXPECT_EQ(entry.offset_bytes, tensor.data_begin);
    EXPECT_EQ(entry.size_bytes, tensor.data_end - tensor.data_begin);
    EXPECT_THAT(entry.shape, ElementsAre(tensor.numel));
  }
}

TEST_F(OnDisk, CommitIsALineOfSha256sum) {
  SaveSteps({7});
  const std::string command =
      absl::StrCat("cd ", In("step-7"), " && sha256sum --strict -c COMMIT >/dev/null");
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST_F(OnDisk, TensorsOfAllWidthsAreAlignedAndInTheOrderGiven) {
  ASSERT_EQ(folder_.MakeStaging(1, "n").status(), absl::OkStatus());
  const std::vector<char> bytes(64, 'x');
  std::vector<ShardTensor> tensors;
  for (const char* dtype : {"U8", "F32", "BF16", "F64"}) {
    ManifestTensor about{.name = "w",
                         .kind = "master",
                         .dtype = dtype,
                         .global_shape = {3},
                         .end = 3,
                         .numel = 3,
                         .file = ""};
    about.kind = absl::StrCat("kind_", tensors.size());
    tensors.push_back({about, bytes.data()});
  }
  const auto shard = WriteShard(files_, In(".tmp-step-1.n"), 0, tensors);
  ASSERT_EQ(shard.status(), absl::OkStatus());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const ManifestTensor& tensor = shard->tensors[i];
    EXPECT_EQ(tensor.dtype, tensors[i].about.dtype);
    EXPECT_EQ(tensor.data_begin % ManifestDtypeBytes(tensor.dtype), 0);
  }
  EXPECT_EQ(SafetensorsFile::Open(In(".tmp-step-1.n/shard-r0000.safetensors")).status(),
            absl::OkStatus());
  tensors[2].about.end = 4;
  EXPECT_THAT(WriteShard(files_, In(".tmp-step-1.n"), 1, tensors),
              IsError(kInvalidArgument, "tensor w.end: [0, 4) is not inside a slice of 3"));
  EXPECT_THAT(WriteExtraFile(files_, In(".tmp-step-1.n"), "../COMMIT", ""),
              IsError(kInvalidArgument, "is no plain file name"));
}

TEST_F(OnDisk, RanksWriteAtOnce) {
  const absl::StatusOr<StagedStep> staging = folder_.MakeStaging(1, "n");
  ASSERT_EQ(staging.status(), absl::OkStatus());
  const std::vector<float> values(1 << 16, 1.5f);
  Manifest manifest;
  manifest.step = 1;
  std::vector<absl::StatusOr<WrittenShard>> shards(4, absl::UnknownError(""));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 4; ++rank) {
    threads.emplace_back([&, rank] {
      const int64_t n = static_cast<int64_t>(values.size());
      const ManifestTensor about{.name = "w",
                                 .kind = "master",
                                 .dtype = "F32",
                                 .global_shape = {4 * n},
                                 .dim = 0,
                                 .offset = rank * n,
                                 .extent = n,
                                 .end = n,
                                 .numel = n,
                                 .file = ""};
      const ShardTensor tensor{about, values.data()};
      shards[rank] = WriteShard(files_, staging->path, rank, {&tensor, 1});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::StatusOr<WrittenShard>& shard : shards) {
    ASSERT_EQ(shard.status(), absl::OkStatus());
    manifest.files.push_back(shard->file);
    manifest.tensors.push_back(shard->tensors[0]);
  }
  EXPECT_EQ(folder_.Commit(*staging, manifest), absl::OkStatus());
  const Committed saved = List().committed.at(0);
  for (const ManifestFile& file : saved.manifest.files) {
    EXPECT_EQ(VerifyFile(files_, saved, file), absl::OkStatus());
  }
}

TEST_F(OnDisk, ReadRangeStaysInsideTheFile) {
  SaveSteps({1});
  const Committed saved = List().committed.at(0);
  char byte = 0;
  const int64_t bytes = saved.manifest.files[0].bytes;
  const std::string name = saved.manifest.files[0].name;
  EXPECT_EQ(ReadRange(files_, saved, name, bytes - 1, &byte, 1), absl::OkStatus());
  EXPECT_THAT(ReadRange(files_, saved, name, bytes, &byte, 1), IsError(kOutOfRange, name));
  EXPECT_THAT(ReadRange(files_, saved, name, -1, &byte, 1), IsError(kOutOfRange, name));
  EXPECT_THAT(ReadRange(files_, saved, "COMMIT", 0, &byte, 1), IsError(kNotFound, "COMMIT"));
  fs::resize_file(In("step-1/" + name), static_cast<uintmax_t>(bytes - 1));
  EXPECT_THAT(ReadRange(files_, saved, name, bytes - 1, &byte, 1), IsError(kDataLoss, name));
}

TEST_F(OnDisk, OtherRanksWaitForTheStagingFolder) {
  EXPECT_THAT(folder_.OpenStaging(1, "n", std::chrono::milliseconds(20)),
              IsError(kNotFound, In(".tmp-step-1.n")));
  std::thread rank0([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CheckpointFolder(files_, output_.path()).MakeStaging(1, "n").IgnoreError();
  });
  const absl::StatusOr<StagedStep> staging = folder_.OpenStaging(1, "n");
  rank0.join();
  ASSERT_EQ(staging.status(), absl::OkStatus());
  EXPECT_EQ(staging->path, In(".tmp-step-1.n"));
}

TEST_F(OnDisk, AStepIsCommittedOnce) {
  SaveSteps({1});
  EXPECT_THAT(folder_.MakeStaging(1, "again"), IsError(kAlreadyExists, In("step-1")));
  EXPECT_THAT(folder_.MakeStaging(2, "no/nonce"), IsError(kInvalidArgument, "letters and digits"));
  const absl::StatusOr<StagedStep> staging = folder_.MakeStaging(2, "n");
  ASSERT_EQ(staging.status(), absl::OkStatus());
  EXPECT_THAT(folder_.MakeStaging(2, "n"), IsError(kAlreadyExists, staging->path));
  EXPECT_THAT(folder_.Commit(*staging, Manifest{}), IsError(kInvalidArgument, "of step 0"));
  // A shard that the manifest promises and the folder has not.
  Manifest manifest = List().committed.at(0).manifest;
  manifest.step = 2;
  EXPECT_THAT(folder_.Commit(*staging, manifest),
              IsError(kDataLoss, staging->path + "/shard-r0000.safetensors"));
  EXPECT_EQ(folder_.Abandon(*staging), absl::OkStatus());
  EXPECT_THAT(Steps(List()), ElementsAre(1));
  EXPECT_THAT(List().leftovers, IsEmpty());
}

TEST_F(OnDisk, WhatIsDamagedUnderAStepsNameMovesAside) {
  SaveSteps({1, 2});
  fs::remove(In("step-2/shard-r0000.safetensors"));
  EXPECT_THAT(Steps(List()), ElementsAre(1));
  SaveSteps({2});
  EXPECT_THAT(Steps(List()), ElementsAre(2, 1));
  EXPECT_THAT(List().leftovers, ElementsAre(In(".trash-step-2.n2")));
  EXPECT_EQ(folder_.CleanUp(), absl::OkStatus());
  EXPECT_THAT(List().leftovers, IsEmpty());
}

TEST_F(OnDisk, ACheckpointOfAnotherVersionIsNeverMovedAside) {
  SaveSteps({1, 2});
  const std::string manifest = ReadFile(In("step-2/manifest.json")).value();
  const std::string newer =
      absl::StrReplaceAll(manifest, {{"\"format_version\":1", "\"format_version\":2"}});
  ASSERT_NE(newer, manifest);
  ASSERT_EQ(WriteFileAtomically(In("step-2/manifest.json"), newer), absl::OkStatus());
  ASSERT_EQ(WriteFileAtomically(In("step-2/COMMIT"), CommitText(newer)), absl::OkStatus());
  const Listing listing = List();
  EXPECT_THAT(Steps(listing), ElementsAre(1));
  ASSERT_THAT(listing.rejected, SizeIs(1));
  EXPECT_TRUE(IsOtherFormat(listing.rejected[0].why));
  EXPECT_THAT(listing.rejected[0].why,
              IsError(kDataLoss, "has format 2, this program reads format 1"));
  EXPECT_THAT(Save(files_, output_.path(), {2, "again"}), IsError(kDataLoss, "format 2"));
  EXPECT_EQ(ReadFile(In("step-2/manifest.json")).value(), newer);
}

TEST_F(OnDisk, RetentionKeepsTheNewestAndTheOneBegunFrom) {
  SaveSteps({1, 2, 3, 4, 5});
  EXPECT_EQ(folder_.Retain(0, {}, "r"), absl::OkStatus());
  EXPECT_THAT(Steps(List()), SizeIs(5));
  EXPECT_EQ(folder_.Retain(2, {1}, "r"), absl::OkStatus());
  EXPECT_THAT(Steps(List()), ElementsAre(5, 4, 1));
  EXPECT_THAT(List().leftovers, IsEmpty());
  // What cannot be read counts for nothing, and stays.
  fs::resize_file(In("step-5/COMMIT"), 10);
  EXPECT_EQ(folder_.Retain(1, {}, "s"), absl::OkStatus());
  EXPECT_THAT(Steps(List()), ElementsAre(4));
  EXPECT_THAT(List().rejected, SizeIs(1));
}

TEST_F(OnDisk, LeftoversAreNotNothing) {
  ASSERT_EQ(HalfSave(files_, output_.path(), {5, "killed"}).status(), absl::OkStatus());
  EXPECT_FALSE(List().nothing_here());
  EXPECT_THAT(List().leftovers, ElementsAre(In(".tmp-step-5.killed")));
  output_.Write("checkpoints/.tmp-LATEST.x", "");
  EXPECT_EQ(folder_.CleanUp(), absl::OkStatus());
  EXPECT_TRUE(List().nothing_here());
  for (const char* name : {"step-", "step-01", "step-1x", "step--1", "step-99999999999999999999"}) {
    fs::create_directory(In(name));
    EXPECT_THAT(List().rejected, SizeIs(1)) << name;
    EXPECT_FALSE(List().nothing_here());
    fs::remove(In(name));
  }
}

}  // namespace
}  // namespace fttrain
