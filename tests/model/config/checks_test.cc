#include "model/config/checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/config/families/llama_shape.h"

namespace fttrain {
namespace {

LlamaShape Tiny() {
  return {.hidden_size = 32,
          .intermediate_size = 48,
          .num_layers = 2,
          .num_heads = 4,
          .num_kv_heads = 2,
          .head_dim = 10,
          .vocab_size = 37};
}

TEST(CheckTensorParallel, SaysWhatDoesNotDivideAndWhatFits) {
  LlamaShape config = Tiny();
  config.num_heads = 9;
  config.num_kv_heads = 3;
  config.intermediate_size = 1536;
  EXPECT_TRUE(CheckTensorParallel(LlamaLike(config), 3).ok());
  const absl::Status status = CheckTensorParallel(LlamaLike(config), 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              ::testing::AllOf(::testing::HasSubstr("9 attention heads / 2 leaves 1"),
                               ::testing::HasSubstr("Sizes that fit: 1, 3")));
}

TEST(CheckTensorParallel, AllowsKvHeadsToBeShared) {
  EXPECT_TRUE(CheckTensorParallel(LlamaLike(Tiny()), 4).ok());
  LlamaShape config = Tiny();
  config.num_kv_heads = 3;
  EXPECT_THAT(std::string(CheckTensorParallel(LlamaLike(config), 4).message()),
              ::testing::HasSubstr("neither 3 key-value heads / 4 nor 4 / 3 is whole"));
}

TEST(ResolveTargetModules, ListsModulesInTheOrderOfTheLayer) {
  EXPECT_THAT(*ResolveTargetModules(LlamaLike(Tiny()), {"all-linear"}),
              ::testing::ElementsAre("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                     "down_proj"));
  EXPECT_THAT(*ResolveTargetModules(LlamaLike(Tiny()), {"v_proj", "q_proj", "v_proj"}),
              ::testing::ElementsAre("q_proj", "v_proj"));
}

TEST(ResolveTargetModules, RefusesWhatItCannotAdaptByName) {
  for (const char* name : {"lm_head", "embed_tokens", "c_attn"}) {
    const auto resolved = ResolveTargetModules(LlamaLike(Tiny()), {"q_proj", name});
    EXPECT_THAT(std::string(resolved.status().message()), ::testing::HasSubstr(name));
  }
  EXPECT_FALSE(ResolveTargetModules(LlamaLike(Tiny()), {}).ok());
}

TEST(ResolveTargetModules, KnowsTheModulesOfThisModelAlone) {
  ModelSpec model = LlamaLike(Tiny());
  for (LayerSpec& layer : model.layers) layer.pop_back();  // no MLP
  EXPECT_THAT(*ResolveTargetModules(model, {"all-linear"}),
              ::testing::ElementsAre("q_proj", "k_proj", "v_proj", "o_proj"));
  EXPECT_THAT(std::string(ResolveTargetModules(model, {"up_proj"}).status().message()),
              ::testing::HasSubstr("up_proj is no linear module of this model"));
}

}  // namespace
}  // namespace fttrain
