// Storage that is not always on the device: what comes, when, and what it costs.
#include "parallel/storage/parameter_store.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "parallel/storage/disk_source.h"
#include "runtime/comm/backends.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"
#include "tests/mpi_test_main.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

constexpr int kEnds = -1;

std::unique_ptr<Mesh> AllDp() {
  auto mesh =
      Mesh::Create(CreateMpiCommunicator, TestProcess(), {1, 1, TestProcess().world_size()});
  TORCH_CHECK(mesh.ok(), mesh.status().ToString());
  return *std::move(mesh);
}

int64_t DeviceBytes(MemoryCategory category) { return MemoryOf(category).current_bytes; }
int64_t HostBytes() { return MemoryOf(MemoryCategory::kWeights, MemoryPlace::kHost).current_bytes; }

// Frozen: a bfloat16 matrix, packed bytes, an empty slice and a float64 vector a group; trainable:
// a float32 factor, beside one at the end of the model.
constexpr int64_t kFrozenBytes = 128 + 128 + 64;  // 66, 66 and 40, each on 64 bytes
constexpr int64_t kFactor = 40;
void Declare(ParameterSet& set, int groups) {
  const auto declare = [&](const std::string& name, int64_t numel, at::ScalarType dtype) {
    return set.Declare({.slice = WholeParam(name, {numel}), .dtype = dtype});
  };
  for (int g = 0; g < groups; ++g) {
    set.BeginGroup(g);
    const std::string layer = "layers." + std::to_string(g);
    declare(layer + ".matrix", 33, at::kBFloat16);
    set.Declare({.slice = SlicedParam(layer + ".empty", {3, 2}, 0, 3, 0)});
    Parameter* packed = declare(layer + ".packed", 120, at::kByte);
    packed->packed_bytes = 66;
    declare(layer + ".vector", 5, at::kDouble);
    Parameter* factor = declare(layer + ".lora_A", kFactor, at::kFloat);
    factor->trainable = true;
    factor->category = MemoryCategory::kAdapters;
  }
  set.BeginGroup(kEnds);
  declare("head", 100, at::kFloat);
}

double ValueFor(const Parameter& p) {
  return 1 + static_cast<double>(p.slice.name.size() * 7 % 50);
}

void Fill(ParameterStore& store) {
  int group = 0;
  const absl::Status status = store.Write([&](const std::vector<Parameter*>& parameters) {
    for (Parameter* p : parameters) p->value.fill_(ValueFor(*p) + p->group);
    ++group;
    return absl::OkStatus();
  });
  ASSERT_TRUE(status.ok()) << status;
}

void ExpectThere(const ParameterSet& set, int group) {
  for (const auto& p : set.all()) {
    if (p->group != group) continue;
    ASSERT_TRUE(p->value.defined()) << p->slice.name;
    EXPECT_EQ(p->value.scalar_type(), p->dtype) << p->slice.name;
    if (p->packed_bytes == 0) {
      EXPECT_EQ(p->value.sizes(), at::IntArrayRef(p->slice.LocalShape()));
    }
    if (p->value.numel() == 0) continue;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p->value.data_ptr()) % 64, 0u) << p->slice.name;
    EXPECT_TRUE(p->value.eq(ValueFor(*p) + group).all().item<bool>()) << p->slice.name;
  }
}

struct Where {
  std::string name;
  int zero_stage;
  FrozenPlace frozen;
};

class FrozenElsewhere : public ::testing::TestWithParam<Where> {
 protected:
  StorageOptions Options() const {
    StorageOptions options;
    options.zero_stage = GetParam().zero_stage;
    options.frozen = GetParam().frozen;
    options.disk_folder = folder_.path();
    return options;
  }
  bool Sharded() const { return GetParam().zero_stage == 3 && mesh_->dp().size() > 1; }
  bool Away() const { return Sharded() || GetParam().frozen != FrozenPlace::kDevice; }
  // A group's window of frozen weights.
  int64_t WindowBytes() const {
    return RoundUp(kFrozenBytes, 64 * (Sharded() ? mesh_->dp().size() : 1));
  }
  // In host memory, for `count` layers: all of them, or what reads them from the disk.
  int64_t KeptOnHost(int count) const {
    const int64_t part = WindowBytes() / (Sharded() ? mesh_->dp().size() : 1);
    if (GetParam().frozen == FrozenPlace::kHost) return count * part;
    return GetParam().frozen == FrozenPlace::kDisk ? DiskReaderBytes(part) : 0;
  }

  const std::unique_ptr<Mesh> mesh_ = AllDp();
  const TempFolder folder_;
};

TEST_P(FrozenElsewhere, ValuesAreThereFromAcquireToReleaseAsTheyWereWritten) {
  ParameterSet set;
  Declare(set, 3);
  ParameterStore store(set, *mesh_, at::kCPU, Options());
  Fill(store);
  for (const int group : {0, 1, 2, kEnds, 2, 1, 0, 0}) {
    const ParameterStore::Lease lease = store.Acquire(group);
    ExpectThere(set, group);
    { const ParameterStore::Lease nested = store.Acquire(group); }
    ExpectThere(set, group);
  }
  const bool away = Away();
  EXPECT_EQ(set.Find("layers.1.matrix")->value.defined(), !away);
  EXPECT_EQ(set.Find("layers.1.packed")->value.defined(), !away);
  EXPECT_EQ(set.Find("layers.1.lora_A")->value.defined(), !Sharded());
  EXPECT_EQ(set.Find("head")->value.defined(), !Sharded()) << "ends are not streamed";
  EXPECT_EQ(folder_.FileCount(), 0u) << "a run that is killed leaves nothing behind";
}

TEST_P(FrozenElsewhere, WhatWasPrefetchedIsThereWhateverIsUsedMeanwhile) {
  ParameterSet set;
  Declare(set, 4);
  ParameterStore store(set, *mesh_, at::kCPU, Options());
  Fill(store);
  {
    const ParameterStore::Lease first = store.Acquire(0);
    store.Prefetch(1);
    store.Prefetch(2);
    const ParameterStore::Lease last = store.Acquire(3);
    for (const int group : {0, 3}) ExpectThere(set, group);
  }
  std::vector<ParameterStore::Lease> leases;
  for (const int group : {1, 2}) {
    leases.push_back(store.Acquire(group));
    ExpectThere(set, group);
  }
}

// One pass over the layers and back, as a stage does it. Returns the most device bytes of weights
// beside what is always there.
int64_t MostBytesOfAPass(ParameterStore& store, int count) {
  store.ForgetWindows();
  const int64_t before = DeviceBytes(MemoryCategory::kWeights);
  ResetMemoryPeaks();
  for (int i = 0; i < 2 * count; ++i) {
    const int group = i < count ? i : 2 * count - 1 - i;
    const ParameterStore::Lease lease = store.Acquire(group);
    if (i + 1 < count) store.Prefetch(group + 1);
    if (i >= count && group > 0) store.Prefetch(group - 1);
  }
  return MemoryOf(MemoryCategory::kWeights).peak_bytes - before;
}

TEST_P(FrozenElsewhere, DeviceHoldsTwoWindowsWhateverTheDepth) {
  for (const int count : {2, 6}) {
    const int64_t before = DeviceBytes(MemoryCategory::kWeights), host = HostBytes();
    ParameterSet set;
    Declare(set, count);
    ParameterStore store(set, *mesh_, at::kCPU, Options());
    Fill(store);
    store.ForgetWindows();
    const int64_t head = 400, dp = mesh_->dp().size();
    const int64_t layers = count * WindowBytes() / (Sharded() ? dp : 1);
    int64_t kept = Sharded() ? RoundUp(head, 64 * dp) / dp : head;
    if (GetParam().frozen == FrozenPlace::kDevice) {
      // Parameters of their own are not padded to 64 bytes.
      kept += Sharded() ? layers : count * (2 * 33 + 66 + 8 * 5);
    }
    EXPECT_EQ(DeviceBytes(MemoryCategory::kWeights) - before, kept) << count;
    EXPECT_EQ(HostBytes() - host, KeptOnHost(count));
    EXPECT_EQ(MostBytesOfAPass(store, count), Away() ? 2 * WindowBytes() : 0) << count;
  }
}

TEST_P(FrozenElsewhere, APassGathersEachGroupOnceEachWayButWhatIsStillThereAtTheTurn) {
  constexpr int kCount = 5;
  ParameterSet set;
  Declare(set, kCount);
  ParameterStore store(set, *mesh_, at::kCPU, Options());
  const int64_t dp = mesh_->dp().size(), before = mesh_->dp().traffic().wire_bytes;
  MostBytesOfAPass(store, kCount);
  const int64_t factor = RoundUp(4 * kFactor, 64 * dp);  // bytes of the group's trainable buffer
  const int64_t gathered = (2 * kCount - 2) * (dp - 1) * (WindowBytes() + factor) / dp;
  EXPECT_EQ(mesh_->dp().traffic().wire_bytes - before, Sharded() ? gathered : 0);
}

TEST_P(FrozenElsewhere, WritingWhatIsTrainedMovesNothingElse) {
  constexpr int kCount = 3;
  ParameterSet set;
  Declare(set, kCount);
  ParameterStore store(set, *mesh_, at::kCPU, Options());
  Fill(store);
  const int64_t dp = mesh_->dp().size(), before = mesh_->dp().traffic().wire_bytes;
  int calls = 0;
  const auto write = [&](const std::vector<Parameter*>& parameters) {
    EXPECT_EQ(set.Find("layers." + std::to_string(calls) + ".matrix")->value.defined(), !Away());
    for (Parameter* p : parameters) {
      EXPECT_TRUE(p->trainable) << p->slice.name;
      p->value.add_(1);
    }
    ++calls;
    return absl::OkStatus();
  };
  EXPECT_TRUE(store.Write(write, ParameterStore::Values::kTrainable).ok());
  EXPECT_EQ(calls, kCount) << "the ends train nothing";
  const int64_t gathered = kCount * (dp - 1) * RoundUp(4 * kFactor, 64 * dp) / dp;
  EXPECT_EQ(mesh_->dp().traffic().wire_bytes - before, Sharded() ? gathered : 0);
  for (int group = 0; group < kCount; ++group) {
    const ParameterStore::Lease lease = store.Acquire(group);
    set.Find("layers." + std::to_string(group) + ".lora_A")->value.sub_(1);
    ExpectThere(set, group);
  }
}

TEST_P(FrozenElsewhere, WhatIsKeptWholeOnTheHostOrTheDiskIsWrittenWithoutTheDevice) {
  ParameterSet set;
  Declare(set, 3);
  ParameterStore store(set, *mesh_, at::kCPU, Options());
  const int64_t before = DeviceBytes(MemoryCategory::kWeights);
  ResetMemoryPeaks();
  Fill(store);
  const int64_t most = MemoryOf(MemoryCategory::kWeights).peak_bytes - before;
  const int64_t head = RoundUp(400, 64 * mesh_->dp().size());
  EXPECT_EQ(most, Sharded() ? std::max(WindowBytes(), head) : 0);
}

TEST_P(FrozenElsewhere, AfterAWriterFailedTheOthersAreNotCalledAndItsErrorIsReturned) {
  ParameterSet set;
  Declare(set, 3);
  ParameterStore store(set, *mesh_, at::kCPU, Options());
  int calls = 0;
  // Only one rank fails: the others must not be left alone in a collective.
  const absl::Status status = store.Write([&](const std::vector<Parameter*>&) {
    ++calls;
    return TestProcess().rank() == 0 && calls == 2 ? absl::DataLossError("torn") : absl::OkStatus();
  });
  EXPECT_EQ(calls, TestProcess().rank() == 0 ? 2 : 4);
  EXPECT_EQ(status.ok(), TestProcess().rank() != 0);
}

INSTANTIATE_TEST_SUITE_P(Places, FrozenElsewhere,
                         ::testing::Values(Where{"Device", 1, FrozenPlace::kDevice},
                                           Where{"Host", 1, FrozenPlace::kHost},
                                           Where{"HostZero2", 2, FrozenPlace::kHost},
                                           Where{"Disk", 1, FrozenPlace::kDisk},
                                           Where{"Zero3", 3, FrozenPlace::kDevice},
                                           Where{"HostZero3", 3, FrozenPlace::kHost},
                                           Where{"DiskZero3", 3, FrozenPlace::kDisk}),
                         [](const auto& where) { return where.param.name; });

// Gradients -------------------------------------------------------------------------------------

class ShardedGradients : public ::testing::TestWithParam<int> {};

TEST_P(ShardedGradients, AreSentOncePerLeaseHoweverOftenTheyWereAddedTo) {
  const auto mesh = AllDp();
  ParameterSet set;
  Declare(set, 3);
  ParameterStore store(set, *mesh, at::kCPU, {.zero_stage = GetParam()});
  const auto sent = [&] { return mesh->dp().traffic().wire_bytes; };
  const int64_t dp = mesh->dp().size();
  const int64_t bytes = 4 * store.buffers()[1].numel() * (dp - 1) / dp;
  const ParameterStore::Lease lease = store.Acquire(1);
  const int64_t before = sent();
  for (int microbatch = 0; microbatch < 3; ++microbatch) {
    const ParameterStore::Lease nested = store.Acquire(1);
    store.BeginGradients(1);
    set.Find("layers.1.lora_A")->grad.add_(1);
    store.EndGradients(1);
  }
  EXPECT_EQ(sent(), before);
  store.EndGradients(1);
  EXPECT_EQ(sent() - before, bytes);
}

INSTANTIATE_TEST_SUITE_P(ZeroStage, ShardedGradients, ::testing::Values(2, 3));

TEST(ParameterStore, MisuseIsRefused) {
  const auto mesh = Mesh::Single();
  ParameterSet set;
  Declare(set, 1);
  StorageOptions nowhere;
  nowhere.frozen = FrozenPlace::kDisk;
  nowhere.disk_folder = "/no/such/folder";
  try {
    ParameterStore(set, *mesh, at::kCPU, nowhere);
    FAIL() << "accepted";
  } catch (const c10::Error& error) {
    EXPECT_THAT(error.what(),
                ::testing::HasSubstr("a file of 320 bytes in /no/such/folder: No such file"));
  }
  ParameterStore store(set, *mesh, at::kCPU, {});
  EXPECT_THROW(store.BeginGradients(0), c10::Error);
  EXPECT_THROW(store.EndGradients(0), c10::Error);
  EXPECT_EQ(store.Acquire(77), nullptr) << "of another stage: nothing";
  const ParameterStore::Lease lease = store.Acquire(0);
  EXPECT_THROW(store.ForgetWindows(), c10::Error);
}

// Makes every file of this process in `folder` empty.
void Truncate(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const auto target = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (!target.starts_with(folder)) continue;
    ASSERT_EQ(ftruncate(std::stoi(entry.path().filename().string()), 0), 0) << target;
  }
}

TEST(ParameterStore, ADiskThatLosesBytesIsAnErrorOfTheGroupThatHasThem) {
  const auto mesh = AllDp();
  for (const int zero_stage : {1, 3}) {
    const TempFolder folder;
    ParameterSet set;
    Declare(set, 2);
    StorageOptions on_disk;
    on_disk.zero_stage = zero_stage;
    on_disk.frozen = FrozenPlace::kDisk;
    on_disk.disk_folder = folder.path();
    ParameterStore store(set, *mesh, at::kCPU, on_disk);
    const ParameterStore::Lease fine = store.Acquire(0);
    Truncate(folder.path());
    store.Prefetch(1);
    EXPECT_THAT([&] { (void)store.Acquire(1); },
                ::testing::ThrowsMessage<NamelessFileError>(
                    ::testing::AllOf(::testing::HasSubstr("in " + folder.path()),
                                     ::testing::HasSubstr("it has become shorter"))));
  }
}

TEST(ParameterStore, UnknownZeroStageIsRefused) {
  ParameterSet set;
  EXPECT_THROW(ParameterStore(set, *Mesh::Single(), at::kCPU, {.zero_stage = 4}), c10::Error);
}

TEST(ParameterStore, SharedSlicesThatTheRanksCannotHoldEquallyAreRefused) {
  const auto mesh =
      Mesh::Create(CreateMpiCommunicator, TestProcess(), {.tp = TestProcess().world_size()});
  ASSERT_TRUE(mesh.ok()) << mesh.status();
  ParameterSet set;
  set.Declare({.slice = SlicedParam("k_proj.weight", {9, 2}, 0, 0, 2),
               .placement = {.tp = AxisGradient::kShared},
               .trainable = true});
  EXPECT_THROW(ParameterStore(set, **mesh, at::kCPU, {}), c10::Error);
}

TEST(ParameterStore, ThatDoesNotTrainHoldsValuesAlone) {
  ParameterSet set;
  Declare(set, 2);
  const auto mesh = AllDp();
  const int64_t gradients = DeviceBytes(MemoryCategory::kGradients);
  ParameterStore store(set, *mesh, at::kCPU,
                       {.zero_stage = 3, .frozen = FrozenPlace::kHost, .trains = false});
  Fill(store);
  for (const int group : {0, 1, kEnds}) {
    const ParameterStore::Lease lease = store.Acquire(group);
    ExpectThere(set, group);
  }
  EXPECT_EQ(DeviceBytes(MemoryCategory::kGradients), gradients);
  EXPECT_TRUE(store.buffers().empty());
}

}  // namespace
}  // namespace fttrain
