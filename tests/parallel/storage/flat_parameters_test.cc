#include "parallel/storage/flat_parameters.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fttrain {
namespace {

Parameter Trainable(std::string name, int64_t numel, AxisGradient over_tp, bool weight_decay,
                    at::ScalarType dtype = at::kFloat) {
  return {.slice = WholeParam(std::move(name), {numel}),
          .placement = {.tp = over_tp},
          .trainable = true,
          .weight_decay = weight_decay,
          .dtype = dtype};
}

std::vector<std::string> Names(const FlatBuffer& buffer) {
  std::vector<std::string> names;
  for (const auto& entry : buffer.entries) names.push_back(entry.parameter->slice.name);
  return names;
}

// With storage for everything.
std::vector<FlatBuffer> LayOut(const ParameterSet& set, int dp_size,
                               MomentStorage moments = MomentStorage::kGradientDtype,
                               bool by_group = false) {
  std::vector<FlatBuffer> buffers = LayOutTrainable(set, {.dp = dp_size}, moments, by_group);
  for (FlatBuffer& buffer : buffers) {
    AllocateFlat(buffer, {0, buffer.numel()}, {0, buffer.numel()}, at::kCPU);
  }
  return buffers;
}

TEST(LayOutTrainable, OrdersByGradientRelationThenDecayThenDeclaration) {
  ParameterSet set;
  set.Declare(Trainable("shared", 3, AxisGradient::kShared, true));
  set.Declare(Trainable("partial.norm", 3, AxisGradient::kPartial, false));
  set.Declare(Trainable("partial", 3, AxisGradient::kPartial, true));
  set.Declare(Trainable("owned.bias", 3, AxisGradient::kOwned, false));
  set.Declare(Trainable("owned.2", 20, AxisGradient::kOwned, true));
  set.Declare(Trainable("owned.1", 3, AxisGradient::kOwned, true));
  const auto buffers = LayOut(set, /*dp_size=*/4);
  ASSERT_EQ(buffers.size(), 1u);
  const FlatBuffer& buffer = buffers[0];
  EXPECT_THAT(Names(buffer), ::testing::ElementsAre("owned.2", "owned.1", "owned.bias", "partial",
                                                    "partial.norm", "shared"));
  ASSERT_EQ(buffer.segments.size(), 5u);
  // 16 float32 are 64 bytes: 32 + 16 | 16 | 16 | 16 | 16, and 128 = 4 shards of 32.
  EXPECT_EQ(buffer.segments[0].range.end, 48);
  EXPECT_EQ(buffer.RangeOf(AxisGradient::kPartial).begin, 64);
  EXPECT_EQ(buffer.RangeOf(AxisGradient::kPartial).end, 96);
  EXPECT_EQ(buffer.RangeOf(AxisGradient::kIdentical).size(), 0);
  EXPECT_EQ(buffer.numel(), 128);
  EXPECT_EQ(buffer.Shard(4, 3).begin, 96);
}

TEST(LayOutTrainable, EightBitMomentsPutLargeTensorsFirstAndAlignOn256Elements) {
  ParameterSet set;
  set.Declare(Trainable("small", 4095, AxisGradient::kOwned, true));
  set.Declare(Trainable("large", 4097, AxisGradient::kOwned, true));
  // The whole tensor decides, not the slice.
  set.Declare({.slice = SlicedParam("slice", {4096}, 0, 0, 10), .trainable = true});
  set.Declare(Trainable("large.bias", 4096, AxisGradient::kOwned, false));
  const auto buffers = LayOut(set, /*dp_size=*/3, MomentStorage::kInt8);
  ASSERT_EQ(buffers.size(), 1u);
  const FlatBuffer& buffer = buffers[0];
  EXPECT_THAT(Names(buffer), ::testing::ElementsAre("large", "slice", "small", "large.bias"));
  ASSERT_EQ(buffer.segments.size(), 3u);
  EXPECT_TRUE(buffer.segments[0].int8_moments);
  EXPECT_EQ(buffer.segments[0].range.end, 4352 + 256);
  EXPECT_FALSE(buffer.segments[1].int8_moments);
  EXPECT_EQ(buffer.entries[3].offset, 4352 + 256 + 4096);
  EXPECT_EQ(buffer.numel(), 13056) << "12800 elements in three shards of a multiple of 256";
}

TEST(LayOutTrainable, ViewsStartOn64BytesAndAliasTheBuffers) {
  ParameterSet set;
  for (const auto dtype : {at::kBFloat16, at::kFloat, at::kDouble}) {
    for (const int64_t numel : {1, 33, 7}) {
      set.Declare(Trainable(std::string(toString(dtype)) + std::to_string(numel), numel,
                            AxisGradient::kOwned, true, dtype));
    }
  }
  auto buffers = LayOut(set, /*dp_size=*/3);
  ASSERT_EQ(buffers.size(), 3u);
  for (FlatBuffer& buffer : buffers) {
    EXPECT_EQ(buffer.numel() % 3, 0);
    EXPECT_EQ(buffer.Shard(3, 1).begin * buffer.values.element_size() % 64, 0);
    buffer.values.fill_(2);
    buffer.gradients.fill_(3);
  }
  for (const auto& p : set.all()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p->value.data_ptr()) % 64, 0u) << p->slice.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p->grad.data_ptr()) % 64, 0u) << p->slice.name;
    EXPECT_EQ(p->value.scalar_type(), p->dtype);
    EXPECT_EQ(p->grad.scalar_type(), p->dtype == at::kDouble ? at::kDouble : at::kFloat);
    EXPECT_TRUE(p->value.eq(2).all().item<bool>() && p->grad.eq(3).all().item<bool>())
        << p->slice.name;
  }
}

TEST(LayOutTrainable, AdaptersAndTrainableWeightsHaveBuffersOfTheirOwn) {
  ParameterSet set;
  set.Declare(Trainable("weight", 4, AxisGradient::kOwned, true));
  Parameter adapter = Trainable("adapter", 4, AxisGradient::kOwned, true);
  adapter.category = MemoryCategory::kAdapters;
  set.Declare(adapter);
  EXPECT_EQ(LayOut(set, 1).size(), 2u);
}

TEST(LayOutTrainable, WhatIsNotTheSameOverDpIsApartAndNotPaddedForShards) {
  ParameterSet set;
  Parameter expert = Trainable("expert", 4, AxisGradient::kOwned, true);
  expert.placement.dp = AxisGradient::kOwned;
  set.Declare(expert);
  set.Declare(Trainable("weight", 4, AxisGradient::kOwned, true));
  const auto buffers = LayOut(set, /*dp_size=*/2);
  ASSERT_EQ(buffers.size(), 2u);
  EXPECT_THAT(Names(buffers[0]), ::testing::ElementsAre("expert"));
  EXPECT_EQ(buffers[0].replicas, AxisSet{Axis::kEp}) << "which has one rank";
  EXPECT_EQ(buffers[0].numel(), 16);
  EXPECT_EQ(buffers[1].replicas, kDataAxes);
  EXPECT_EQ(buffers[1].numel(), 32);
}

TEST(LayOutTrainable, ByGroupEachGroupHasBuffersOfItsOwnInOrder) {
  ParameterSet set;
  set.BeginGroup(3);
  set.Declare(Trainable("layer.3", 5, AxisGradient::kOwned, true));
  set.BeginGroup(-1);
  set.Declare(Trainable("head", 40, AxisGradient::kOwned, true));
  set.BeginGroup(3);
  set.Declare(Trainable("layer.3.norm", 7, AxisGradient::kPartial, false));
  const auto buffers = LayOut(set, /*dp_size=*/2, MomentStorage::kGradientDtype, true);
  ASSERT_EQ(buffers.size(), 2u);
  EXPECT_THAT(Names(buffers[0]), ::testing::ElementsAre("head"));
  EXPECT_THAT(Names(buffers[1]), ::testing::ElementsAre("layer.3", "layer.3.norm"));
  EXPECT_EQ(buffers[0].numel(), 64) << "48 elements in two shards of a multiple of 16";
}

TEST(LayOutTrainable, OfAShardOnlyWhatIsKeptHasStorageAndNoParameterHasAView) {
  ParameterSet set;
  const Parameter* p = set.Declare(Trainable("weight", 64, AxisGradient::kOwned, true));
  std::vector<FlatBuffer> buffers =
      LayOutTrainable(set, {.dp = 2}, MomentStorage::kGradientDtype, true);
  AllocateFlat(buffers[0], {32, 64}, {32, 64}, at::kCPU);
  EXPECT_EQ(buffers[0].values.numel(), 32);
  EXPECT_FALSE(p->value.defined() || p->grad.defined());
  EXPECT_EQ(buffers[0].ValuesIn({48, 64}).data_ptr<float>(),
            buffers[0].values.data_ptr<float>() + 16);
  EXPECT_THROW(buffers[0].GradientsIn({16, 48}), c10::Error);
}

TEST(LayOutTrainable, TrainableFloat16IsRefusedByName) {
  ParameterSet set;
  set.Declare(Trainable("half.weight", 4, AxisGradient::kOwned, true, at::kHalf));
  EXPECT_THAT([&] { LayOut(set, 1); }, ::testing::ThrowsMessage<c10::Error>(::testing::HasSubstr(
                                           "half.weight: a trainable parameter must be")));
}

}  // namespace
}  // namespace fttrain
