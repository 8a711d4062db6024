#include "runtime/memory/rehearsal.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <optional>

#include "runtime/memory/host.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

const c10::Device kCpu(c10::kCPU), kGpu(c10::kCUDA, 0);
constexpr int64_t kLarge = 1 << 20;  // elements

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

class RehearsalTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { InstallMemoryLedger(); }
  // The peak of what `work` asks for.
  static int64_t PeakOf(const std::function<void()>& work) {
    const int64_t before = TotalMemory().current_bytes;
    ResetMemoryPeaks();
    work();
    return TotalMemory().peak_bytes - before;
  }
};

TEST_F(RehearsalTest, LastsAsLongAsItLives) {
  EXPECT_FALSE(IsRehearsal());
  {
    const Rehearsal rehearsal(kCpu);
    EXPECT_TRUE(IsRehearsal());
    EXPECT_THROW(Rehearsal{kCpu}, c10::Error);
    EXPECT_TRUE(IsRehearsal());
  }
  EXPECT_FALSE(IsRehearsal());
  EXPECT_EQ(at::ones({kLarge}).sum().item<float>(), kLarge);
}

TEST_F(RehearsalTest, ComputesWhatIsSmallOrOfIntegersAlone) {
  const Rehearsal rehearsal(kCpu);
  EXPECT_EQ(at::zeros({8}).add_(2).sum().item<float>(), 16);
  EXPECT_EQ(at::zeros({kLarge}, at::kLong).add_(2).sum().item<int64_t>(), 2 * kLarge);
  EXPECT_EQ(at::zeros({kLarge}).add_(2)[7].item<float>(), 0);
  EXPECT_EQ(at::full({kLarge}, 3.0)[7].item<float>(), 0);
}

// What a layer does, and more: products, sums, conversions, copies and views.
void Work(c10::Device device) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const at::Tensor a = at::empty({700, 300}, options), b = at::empty({500, 300}, options);
  at::Tensor sum = at::mm(a, b.t());
  sum.addmm_(a, b.t(), 1.0, 0.5);
  at::Tensor narrow = sum.to(at::kBFloat16);
  narrow.zero_();
  const at::Tensor rows = narrow.index_select(0, at::arange(100, options.dtype(at::kLong)));
  const at::Tensor turned = rows.t().contiguous(), same = rows.contiguous();
  const at::Tensor both = at::cat({rows, rows}, 1), again = at::zeros_like(both);
  at::bmm(a.view({7, 100, 300}), a.view({7, 100, 300}).transpose(1, 2)).exp_();
  sum.narrow(0, 3, 4).copy_(narrow.narrow(0, 0, 4));
  const at::Tensor column = sum.sum(1), whole = sum.clone();
  at::Tensor held = EmptyOnHost({700}, at::kFloat, kCpu);
  held.copy_(column);
}

TEST_F(RehearsalTest, AsksForTheBytesThatComputingAsksFor) {
  const int64_t computed = PeakOf([] { Work(kCpu); });
  for (const int64_t largest : {int64_t{0}, int64_t{4096}, int64_t{1} << 40}) {
    const Rehearsal rehearsal(kCpu, largest);
    EXPECT_EQ(PeakOf([] { Work(kCpu); }), computed) << largest;
  }
}

TEST_F(RehearsalTest, NeedsNoMemory) {
  constexpr int64_t kTebi = int64_t{1} << 40;
  const int64_t before = ResidentBytes();
  const Rehearsal rehearsal(kCpu);
  at::Tensor weights = at::zeros({kTebi / 4});
  weights.fill_(1).mul_(3);
  const at::Tensor copy = weights.clone(), half = weights.to(at::kBFloat16);
  const at::Tensor host = EmptyOnHost({kTebi}, at::kByte, kCpu);
  EXPECT_LT(ResidentBytes() - before, 64 << 20);
}

TEST_F(RehearsalTest, FreesWhatOutlivesIt) {
  const int64_t before = TotalMemory().current_bytes;
  std::optional<at::Tensor> kept;
  {
    const Rehearsal rehearsal(kCpu);
    kept = at::empty({kLarge});
  }
  EXPECT_EQ(TotalMemory().current_bytes - before, 4 * kLarge);
  kept.reset();
  EXPECT_EQ(TotalMemory().current_bytes, before);
}

TEST_F(RehearsalTest, ImaginesAGpu) {
  const int64_t host_before = TotalMemory().current_bytes;
  {
    const Rehearsal rehearsal(kGpu);
    const MemoryScope scope(MemoryCategory::kWeights);
    const at::Tensor on_gpu = at::empty({3, 5}, at::TensorOptions(at::kBFloat16).device(kGpu));
    EXPECT_TRUE(on_gpu.is_cuda());
    EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).current_bytes, 30);
    const at::Tensor wide = on_gpu.to(at::kFloat);
    EXPECT_TRUE(wide.is_cuda());
    EXPECT_EQ(wide.scalar_type(), at::kFloat);
    EXPECT_EQ(on_gpu.to(at::kBFloat16).const_data_ptr(), on_gpu.const_data_ptr());
    EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).current_bytes, 90);
    EXPECT_EQ(on_gpu.t().sizes(), at::IntArrayRef({5, 3}));
    const at::Tensor on_host = wide.cpu();
    EXPECT_TRUE(on_host.is_cpu());
    EXPECT_EQ(on_host.sum().item<float>(), 0);
    EXPECT_EQ(wide.sum().item<float>(), 0);
    // Pinned memory of the moment is nobody's, what is held is the host's.
    const int64_t of_host = TotalMemory(MemoryPlace::kHost).current_bytes;
    const auto pinned = at::TensorOptions(at::kFloat).pinned_memory(true);
    const at::Tensor moment = at::empty({kLarge}, pinned);
    EXPECT_EQ(moment.to(kGpu, /*non_blocking=*/true).device(), kGpu);
    EXPECT_EQ(TotalMemory(MemoryPlace::kHost).current_bytes, of_host);
    const at::Tensor held = EmptyOnHost({10}, at::kFloat, kGpu);
    EXPECT_EQ(TotalMemory(MemoryPlace::kHost).current_bytes, of_host + 40);
    EXPECT_EQ(TotalMemory().peak_bytes, 90 + 4 * kLarge);
  }
  EXPECT_EQ(TotalMemory().current_bytes, host_before);  // the device is the host again
}

TEST_F(RehearsalTest, AsksOnAGpuForWhatTheSameWorkAsksOfAHost) {
  const int64_t computed = PeakOf([] { Work(kCpu); });
  const Rehearsal rehearsal(kGpu);
  EXPECT_EQ(PeakOf([] { Work(kGpu); }), computed);
}

TEST_F(RehearsalTest, NamesAnOperationWhoseShapeItDoesNotKnow) {
  const Rehearsal rehearsal(kGpu);
  const at::Tensor x = at::empty({4, 4}, at::TensorOptions(at::kFloat).device(kGpu));
  EXPECT_THAT([&] { at::abs(x); },
              testing::ThrowsMessage<c10::Error>(testing::HasSubstr("no rehearsal of aten::abs")));
}

}  // namespace
}  // namespace fttrain
