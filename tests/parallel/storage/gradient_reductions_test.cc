// Sums of gradients over dp: when they are sent, what they add up to, and what they hold.
#include "parallel/storage/gradient_reductions.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/comm/backends.h"
#include "runtime/memory/ledger.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

std::unique_ptr<Mesh> AllDp() {
  auto mesh =
      Mesh::Create(CreateMpiCommunicator, TestProcess(), {1, 1, TestProcess().world_size()});
  TORCH_CHECK(mesh.ok(), mesh.status().ToString());
  return *std::move(mesh);
}

int64_t GradientBytes() { return MemoryOf(MemoryCategory::kGradients).current_bytes; }

constexpr int64_t kFactor = 40;  // elements, one factor a group
constexpr size_t kGroups = 3;

class GradientsOf : public ::testing::TestWithParam<int> {
 protected:
  GradientsOf() {
    for (size_t group = 0; group < kGroups; ++group) {
      set_.BeginGroup(static_cast<int>(group));
      factors_.push_back(set_.Declare(
          {.slice = WholeParam("layers." + std::to_string(group) + ".lora_A", {kFactor}),
           .trainable = true,
           .category = MemoryCategory::kAdapters}));
    }
    buffers_ = LayOutTrainable(set_, mesh_->shape(), MomentStorage::kGradientDtype,
                               /*by_group=*/true);
    for (FlatBuffer& flat : buffers_) {
      const FlatRange whole{0, flat.numel()};
      AllocateFlat(flat, whole, GetParam() >= 2 ? ShardOf(flat, *mesh_) : whole, at::kCPU);
    }
    sums_ = std::make_unique<GradientReductions>(buffers_, *mesh_, at::kCPU, GetParam());
  }
  // Adds `value` on this rank.
  void Add(size_t group, double value) {
    sums_->Begin({group});
    factors_[group]->grad.add_(value);
    sums_->End({group});
  }
  // Adds (group + 1) (rank + 1) in two backwards, of which the last completes the gradients of
  // `complete`.
  void AddTwice(const std::vector<size_t>& complete) {
    for (const bool last : {false, true}) {
      for (const size_t group : {2u, 1u, 0u}) {
        const auto factor = static_cast<double>((group + 1) * (last ? 2 : 1));
        Add(group, factor * (mesh_->dp().rank() + 1));
        const bool completes = std::count(complete.begin(), complete.end(), group) > 0;
        if (last && completes) sums_->Complete({group});
      }
    }
  }
  void ExpectSumsOfAddTwice() {
    const int64_t ranks = dp_ * (dp_ + 1) / 2;
    ASSERT_EQ(buffers_.size(), kGroups);
    for (size_t group = 0; group < kGroups; ++group) {
      const FlatBuffer& flat = buffers_[group];
      const FlatRange owned = GetParam() > 0 ? ShardOf(flat, *mesh_) : FlatRange{0, flat.numel()};
      const at::Tensor mine = flat.GradientsIn(Intersect({0, kFactor}, owned));
      const int64_t want = 3 * (static_cast<int64_t>(group) + 1) * ranks;
      EXPECT_TRUE(mine.eq(want).all().item<bool>()) << group;
    }
  }
  void ZeroGradients() {
    for (const FlatBuffer& flat : buffers_) flat.gradients.zero_();
  }
  int64_t Sums() const { return mesh_->dp().traffic().calls; }

  const std::unique_ptr<Mesh> mesh_ = AllDp();
  const int64_t dp_ = mesh_->dp().size();
  ParameterSet set_;
  std::vector<Parameter*> factors_;
  std::vector<FlatBuffer> buffers_;
  std::unique_ptr<GradientReductions> sums_;
};

TEST_P(GradientsOf, SeveralBackwardsAddUpOverAllRanks) {
  for (const std::vector<size_t>& complete : {std::vector<size_t>{}, {1}, {0, 1, 2}}) {
    ZeroGradients();
    AddTwice(complete);
    sums_->Finish();
    ExpectSumsOfAddTwice();
  }
}

INSTANTIATE_TEST_SUITE_P(ZeroStage, GradientsOf, ::testing::Values(0, 1, 2, 3));

class WholeGradients : public GradientsOf {};

TEST_P(WholeGradients, AreSentOnceAStepFromTheirCompletionOn) {
  const int64_t before = Sums();
  AddTwice({});
  EXPECT_EQ(Sums(), before) << "nothing is complete";
  sums_->Complete({2});
  EXPECT_EQ(Sums(), before + 1);
  sums_->Complete({2});
  sums_->Complete({0});
  EXPECT_EQ(Sums(), before + 2);
  sums_->Finish();
  EXPECT_EQ(Sums(), before + 3) << "the rest";
  ExpectSumsOfAddTwice();
}

TEST_P(WholeGradients, TakeNothingMoreInAStepThatCompletedThem) {
  AddTwice({1});
  EXPECT_THROW(sums_->Begin({1}), c10::Error);
  sums_->Finish();
  Add(1, 1);  // the next step
}

TEST_P(WholeGradients, AreSummedInPlace) {
  AddTwice({});
  ResetMemoryPeaks();
  const int64_t before = GradientBytes();
  for (const size_t group : {2u, 1u, 0u}) sums_->Complete({group});
  sums_->Finish();
  EXPECT_EQ(MemoryOf(MemoryCategory::kGradients).peak_bytes, before);
}

INSTANTIATE_TEST_SUITE_P(ZeroStage, WholeGradients, ::testing::Values(0, 1));

class GradientsInShards : public GradientsOf {};

TEST_P(GradientsInShards, AreAllThatExistsBetweenBackwards) {
  for (const FlatBuffer& flat : buffers_) {
    EXPECT_EQ(flat.gradients.numel(), flat.numel() / dp_);
  }
  EXPECT_FALSE(factors_[0]->grad.defined());
  Add(0, 1);
  EXPECT_FALSE(factors_[0]->grad.defined());
}

TEST_P(GradientsInShards, HaveWholeOnesOfTwoGroupsBesideThemAtMost) {
  const int64_t window = 4 * buffers_[0].numel();
  const int64_t before = GradientBytes();
  ResetMemoryPeaks();
  for (const size_t group : {2u, 1u, 0u}) Add(group, 1);
  sums_->Finish();
  EXPECT_EQ(MemoryOf(MemoryCategory::kGradients).peak_bytes - before, 2 * window);
  EXPECT_EQ(GradientBytes(), before);
}

TEST_P(GradientsInShards, RefuseOrDropWhatWasNotEnded) {
  sums_->Begin({1});
  factors_[1]->grad.add_(5);
  EXPECT_THROW(sums_->Finish(), c10::Error);
  Add(2, 7);  // on its way to the shards
  sums_->Drop();
  for (const size_t group : {2u, 1u}) Add(group, 1);
  sums_->Finish();
  for (const size_t group : {1u, 2u}) {
    const FlatBuffer& flat = buffers_[group];
    const FlatRange mine = Intersect({0, kFactor}, flat.kept_gradients);
    EXPECT_TRUE(flat.GradientsIn(mine).eq(dp_).all().item<bool>()) << group;
  }
}

INSTANTIATE_TEST_SUITE_P(ZeroStage, GradientsInShards, ::testing::Values(2, 3));

}  // namespace
}  // namespace fttrain
