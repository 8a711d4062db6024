#include "runtime/memory/ledger.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <set>
#include <string_view>
#include <thread>
#include <vector>

#include "runtime/memory/host.h"

namespace fttrain {
namespace {

int64_t Now(MemoryCategory category) { return MemoryOf(category).current_bytes; }

int64_t SumOfCategories() {
  int64_t sum = 0;
  for (int c = 0; c < static_cast<int>(MemoryCategory::kCount); ++c) {
    sum += Now(static_cast<MemoryCategory>(c));
  }
  return sum;
}

at::Tensor Bytes(int64_t bytes) { return at::empty({bytes}, at::kByte); }

class MemoryLedger : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { InstallMemoryLedger(); }
};

TEST_F(MemoryLedger, BooksExactlyTheBytesOfATensorWhileItLives) {
  const int64_t before = Now(MemoryCategory::kWeights);
  {
    const MemoryScope scope(MemoryCategory::kWeights);
    const at::Tensor weight = at::empty({3, 7}, at::kFloat);
    EXPECT_EQ(Now(MemoryCategory::kWeights) - before, 3 * 7 * 4);
    const at::Tensor view = weight.narrow(0, 1, 2);  // a view has no bytes of its own
    EXPECT_EQ(Now(MemoryCategory::kWeights) - before, 3 * 7 * 4);
    at::Tensor grows = Bytes(0);
    EXPECT_EQ(Now(MemoryCategory::kWeights) - before, 3 * 7 * 4);
    grows.resize_({500});
    EXPECT_EQ(Now(MemoryCategory::kWeights) - before, 3 * 7 * 4 + 500);
  }
  EXPECT_EQ(Now(MemoryCategory::kWeights), before);
}

TEST_F(MemoryLedger, TheInnermostScopeCountsAndTheOuterOneReturns) {
  const int64_t saved = Now(MemoryCategory::kSaved), workspace = Now(MemoryCategory::kWorkspace);
  const int64_t other = Now(MemoryCategory::kOther);
  const at::Tensor without_scope = Bytes(123);
  const MemoryScope outer(MemoryCategory::kSaved);
  const at::Tensor first = Bytes(10);
  at::Tensor second;
  {
    const MemoryScope inner(MemoryCategory::kWorkspace);
    second = Bytes(100);
  }
  const at::Tensor third = Bytes(1000);
  EXPECT_EQ(Now(MemoryCategory::kSaved) - saved, 1010);
  EXPECT_EQ(Now(MemoryCategory::kWorkspace) - workspace, 100);
  EXPECT_EQ(Now(MemoryCategory::kOther) - other, 123);
}

TEST_F(MemoryLedger, ATensorKeepsItsCategoryWhoeverFreesIt) {
  const int64_t before = Now(MemoryCategory::kGradients);
  at::Tensor gradient;
  {
    const MemoryScope scope(MemoryCategory::kGradients);
    gradient = Bytes(4096);
  }
  std::thread([moved = std::move(gradient)]() mutable {
    const MemoryScope scope(MemoryCategory::kOptimizer);
    moved.reset();
  }).join();
  EXPECT_EQ(Now(MemoryCategory::kGradients), before);
  EXPECT_GE(Now(MemoryCategory::kOptimizer), 0);
}

TEST_F(MemoryLedger, AScopeIsOfItsThreadAlone) {
  const MemoryScope scope(MemoryCategory::kAdapters);
  const int64_t adapters = Now(MemoryCategory::kAdapters), other = Now(MemoryCategory::kOther);
  at::Tensor tensor;
  std::thread([&] { tensor = Bytes(77); }).join();
  EXPECT_EQ(Now(MemoryCategory::kAdapters), adapters);
  EXPECT_EQ(Now(MemoryCategory::kOther) - other, 77);
}

TEST_F(MemoryLedger, PeaksAreTheHighestSinceTheLastReset) {
  const MemoryScope scope(MemoryCategory::kSaved);
  const at::Tensor kept = Bytes(1000);
  ResetMemoryPeaks();
  const int64_t saved = Now(MemoryCategory::kSaved), total = TotalMemory().current_bytes;
  EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).peak_bytes, saved);
  { const at::Tensor passing = Bytes(5000); }
  {
    // Never together with the 5000 above: the peak of the total is not the sum of the peaks.
    const MemoryScope inner(MemoryCategory::kWorkspace);
    const at::Tensor passing = Bytes(3000);
  }
  EXPECT_EQ(Now(MemoryCategory::kSaved), saved);
  EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).peak_bytes - saved, 5000);
  EXPECT_EQ(TotalMemory().peak_bytes - total, 5000);
  ResetMemoryPeaks();
  EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).peak_bytes, saved);
}

TEST_F(MemoryLedger, TheTotalIsTheSumOfTheCategoriesAfterManyThreads) {
  const int64_t before = TotalMemory().current_bytes;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const MemoryScope scope(static_cast<MemoryCategory>(1 + t));
      for (int i = 0; i < 2000; ++i) at::Tensor passing = Bytes(1 + i % 97);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(TotalMemory().current_bytes, before);
  EXPECT_EQ(SumOfCategories(), before);
}

TEST_F(MemoryLedger, DataIsAlignedAndItsOwnContext) {
  for (const int64_t bytes : {1, 63, 64, 65, 100000}) {
    const at::Tensor tensor = Bytes(bytes);
    const auto& pointer = tensor.storage().data_ptr();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pointer.get()) % 64, 0u);
    EXPECT_EQ(pointer.get(), pointer.get_context());
  }
}

TEST_F(MemoryLedger, AnImpossibleAllocationIsAnErrorThatNamesItsBytesAndCountsNothing) {
  const int64_t before = TotalMemory().current_bytes;
  EXPECT_THAT([] { Bytes(int64_t{1} << 60); },
              ::testing::ThrowsMessage<c10::Error>(::testing::HasSubstr("1152921504606846976")));
  EXPECT_EQ(TotalMemory().current_bytes, before);
}

TEST_F(MemoryLedger, HostMemoryBesideTheDeviceIsNotTheDevices) {
  const MemoryScope scope(MemoryCategory::kSaved);
  const auto on_host = [] {
    return MemoryOf(MemoryCategory::kSaved, MemoryPlace::kHost).current_bytes;
  };
  const int64_t device = Now(MemoryCategory::kSaved), host = on_host();
  at::Tensor tensor = EmptyOnHost({3, 70}, at::kFloat, at::kCPU);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 64, 0u);
  tensor.fill_(2.0f);
  EXPECT_EQ(tensor.sum().item<float>(), 420.0f);
  EXPECT_EQ(on_host() - host, 3 * 70 * 4);
  EXPECT_EQ(Now(MemoryCategory::kSaved), device);
  at::Tensor view = tensor.narrow(0, 1, 1);
  tensor.reset();
  EXPECT_EQ(on_host() - host, 3 * 70 * 4) << "a view keeps it alive";
  view.reset();
  EXPECT_EQ(on_host(), host);
  EXPECT_EQ(EmptyOnHost({0, 4}, at::kFloat, at::kCPU).numel(), 0);
}

TEST_F(MemoryLedger, EveryCategoryHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int c = 0; c < static_cast<int>(MemoryCategory::kCount); ++c) {
    names.insert(MemoryCategoryName(static_cast<MemoryCategory>(c)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(MemoryCategory::kCount));
  EXPECT_THAT(names, ::testing::Not(::testing::Contains("invalid")));
}

}  // namespace
}  // namespace fttrain
