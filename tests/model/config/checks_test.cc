#include "model/config/checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/model/family_shapes.h"
#include "tests/model/tiny_llama.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

TEST(CheckTensorParallel, SaysWhatDoesNotDivideAndWhatFits) {
  LlamaShape config = TinyLlama();
  config.num_heads = 9;
  config.num_kv_heads = 3;
  config.intermediate_size = 1536;
  EXPECT_TRUE(CheckTensorParallel(LlamaLike(config), 3).ok());
  const absl::Status status = CheckTensorParallel(LlamaLike(config), 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(ErrorText(status),
              ::testing::AllOf(::testing::HasSubstr("9 attention heads / 2 leaves 1"),
                               ::testing::HasSubstr("Sizes that fit: 1, 3")));
}

TEST(CheckTensorParallel, AllowsKvHeadsToBeShared) {
  EXPECT_TRUE(CheckTensorParallel(LlamaLike(TinyLlama()), 4).ok());
  LlamaShape config = TinyLlama();
  config.num_kv_heads = 3;
  EXPECT_THAT(ErrorText(CheckTensorParallel(LlamaLike(config), 4)),
              ::testing::HasSubstr("neither 3 key-value heads / 4 nor 4 / 3 is whole"));
}

TEST(CheckExpertParallel, RanksDivideTheExpertsOfEveryLayer) {
  LlamaShape shape = TinyLlama();
  EXPECT_TRUE(CheckExpertParallel(LlamaLike(shape), 1).ok());
  EXPECT_THAT(CheckExpertParallel(LlamaLike(shape), 2),
              IsError(absl::StatusCode::kInvalidArgument, "has no experts to divide"));
  LikeDeepseekV2(shape);
  EXPECT_TRUE(CheckExpertParallel(LlamaLike(shape), 3).ok());
  EXPECT_THAT(CheckExpertParallel(LlamaLike(shape), 4),
              IsError(absl::StatusCode::kInvalidArgument,
                      "parallel.expert 4 does not divide this model's 6 experts. Sizes that do: 1, "
                      "2, 3, 6"));
}

// What is no expert's is on every rank; an expert keeps its name.
TEST(PartOfExperts, TogetherTheRanksHaveEachExpertOnce) {
  LlamaShape shape = TinyLlama();
  LikeDeepseekV2(shape);
  const ModelSpec model = LlamaLike(shape);
  std::map<std::string, int> ranks_with;
  for (int rank = 0; rank < 3; ++rank) {
    const ModelSpec part = PartOfExperts(model, rank, 3);
    for (const LayerSpec& layer : part.layers) {
      for (const LinearSpec& linear : LinearsOf(layer)) ++ranks_with[linear.name];
    }
    EXPECT_EQ(std::get<MoeSpec>(part.layers[1][1].body).num_experts(), 6);
  }
  for (const LayerSpec& layer : model.layers) {
    for (const LinearSpec& linear : LinearsOf(layer)) {
      EXPECT_EQ(ranks_with[linear.name], linear.role == LinearRole::kExpert ? 1 : 3) << linear.name;
    }
  }
}

}  // namespace
}  // namespace fttrain
