// Which device a rank takes, on hosts that are told of here instead of being there.
#include "runtime/process/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/mpi_test_main.h"
#include "tests/runtime/process/fake_gpus.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

// A driver that is too old leaves cards that nobody meant to do without.
TEST(SelectDevice, RefusesCardsThatCudaCannotUse) {
  const FakeGpus unusable({}, 0, "this host has 2 GPUs, which CUDA 13.0 cannot use");
  for (const DeviceKind kind : {DeviceKind::kAuto, DeviceKind::kCuda}) {
    const absl::Status status = SelectDevice(kind, TestProcess(), unusable).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("2 GPUs, which CUDA 13.0 cannot use. Update it, or set device: cpu"));
  }
  EXPECT_TRUE(Selected(DeviceKind::kCpu, unusable).is_cpu());
}

TEST(DeviceModel, IsTheCardsNameAndCapability) {
  const c10::Device second(c10::kCUDA, 1);
  EXPECT_EQ(DeviceModel(second, FakeGpus({k4090, kA6000})), "NVIDIA RTX A6000 (8.6)");
  EXPECT_EQ(DeviceModel(c10::Device(c10::kCPU), FakeGpus({k4090})), "");
}

TEST(FreeMemoryBytes, AreTheGpusOwn) {
  EXPECT_EQ(FreeMemoryBytes(c10::Device(c10::kCUDA, 0), FakeGpus({kA6000}, 123)), 123);
}

}  // namespace
}  // namespace fttrain
