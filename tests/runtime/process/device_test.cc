// Which device a rank takes, on hosts that are told of here instead of being there.
#include "runtime/process/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FakeGpus : public GpuRuntime {
 public:
  explicit FakeGpus(std::vector<Gpu> gpus, int64_t free_bytes = 0)
      : gpus_(std::move(gpus)), free_bytes_(free_bytes) {}
  int Count() const override { return static_cast<int>(gpus_.size()); }
  Gpu Describe(int index) const override { return gpus_.at(static_cast<size_t>(index)); }
  void Open(int index) const override { opened.push_back(index); }
  int64_t FreeBytes() const override { return free_bytes_; }
  mutable std::vector<int> opened;

 private:
  std::vector<Gpu> gpus_;
  int64_t free_bytes_;
};

const Gpu kA6000{"NVIDIA RTX A6000", 8, 6, "a6000"}, k4090{"NVIDIA RTX 4090", 8, 9, "4090"},
    kV100{"Tesla V100", 7, 0, "v100"};

// As the launcher gives each rank a card of its own.
Gpu OfRank(int rank) { return {"NVIDIA A100", 8, 0, absl::StrCat("a100-", rank)}; }

c10::Device Selected(DeviceKind kind, const FakeGpus& gpus) {
  const auto device = SelectDevice(kind, TestProcess(), gpus);
  EXPECT_TRUE(device.ok()) << device.status();
  return device.value_or(c10::Device(c10::kCPU));
}

TEST(SelectDevice, TakesTheGpuOfTheRanksNumber) {
  const FakeGpus gpus({OfRank(0), OfRank(1), OfRank(2), OfRank(3)});
  const c10::Device device = Selected(DeviceKind::kAuto, gpus);
  EXPECT_EQ(device, c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(TestProcess().rank())));
  EXPECT_THAT(gpus.opened, ElementsAre(TestProcess().rank()));
  EXPECT_FALSE(SomeRanksShareAGpu(device, TestProcess(), gpus));
}

TEST(SelectDevice, WithOneVisibleGpuEachRanksShareNothing) {
  const FakeGpus gpus({OfRank(TestProcess().rank())});
  const c10::Device device = Selected(DeviceKind::kCuda, gpus);
  EXPECT_EQ(device, c10::Device(c10::kCUDA, 0));
  EXPECT_FALSE(SomeRanksShareAGpu(device, TestProcess(), gpus));
}

TEST(SelectDevice, MoreRanksThanCardsShareThem) {
  const FakeGpus gpus({kA6000});
  const c10::Device device = Selected(DeviceKind::kAuto, gpus);
  EXPECT_EQ(device, c10::Device(c10::kCUDA, 0));
  EXPECT_EQ(SomeRanksShareAGpu(device, TestProcess(), gpus), TestProcess().world_size() > 1);
}

TEST(SelectDevice, TakesCardsOfDifferentKinds) {
  const FakeGpus gpus({kA6000, k4090, OfRank(2), OfRank(3)});
  EXPECT_FALSE(SomeRanksShareAGpu(Selected(DeviceKind::kAuto, gpus), TestProcess(), gpus));
}

TEST(SelectDevice, RefusesACardThatIsTooOldByName) {
  const FakeGpus gpus({kV100, kV100, kV100, kV100});
  for (const DeviceKind kind : {DeviceKind::kAuto, DeviceKind::kCuda}) {
    const absl::Status status = SelectDevice(kind, TestProcess(), gpus).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("Tesla V100, has compute capability 7.0"));
  }
  EXPECT_TRUE(gpus.opened.empty());
}

TEST(SelectDevice, WithoutAGpuIsTheCpuUnlessOneIsAskedFor) {
  const FakeGpus none({});
  const c10::Device device = Selected(DeviceKind::kAuto, none);
  EXPECT_TRUE(device.is_cpu());
  EXPECT_FALSE(SomeRanksShareAGpu(device, TestProcess(), none));
  EXPECT_TRUE(Selected(DeviceKind::kCpu, FakeGpus({kA6000})).is_cpu());
  EXPECT_THAT(std::string(SelectDevice(DeviceKind::kCuda, TestProcess(), none).status().message()),
              HasSubstr("device cuda"));
}

TEST(FreeMemoryBytes, AreTheGpusOwn) {
  EXPECT_EQ(FreeMemoryBytes(c10::Device(c10::kCUDA, 0), FakeGpus({kA6000}, 123)), 123);
}

}  // namespace
}  // namespace fttrain
