#include "model/config/checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(ResolveTargetModules, ListsModulesInTheOrderOfTheLayer) {
  EXPECT_THAT(*ResolveTargetModules(LlamaLike(TinyLlama()), {"all-linear"}),
              ::testing::ElementsAre("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                     "down_proj"));
  EXPECT_THAT(*ResolveTargetModules(LlamaLike(TinyLlama()), {"v_proj", "q_proj", "v_proj"}),
              ::testing::ElementsAre("q_proj", "v_proj"));
}

TEST(ResolveTargetModules, RefusesWhatItCannotAdaptByName) {
  for (const char* name : {"lm_head", "embed_tokens", "c_attn"}) {
    const auto resolved = ResolveTargetModules(LlamaLike(TinyLlama()), {"q_proj", name});
    EXPECT_THAT(ErrorText(resolved), ::testing::HasSubstr(name));
  }
  EXPECT_FALSE(ResolveTargetModules(LlamaLike(TinyLlama()), {}).ok());
}

TEST(ResolveTargetModules, KnowsTheModulesOfThisModelAlone) {
  ModelSpec model = LlamaLike(TinyLlama());
  for (LayerSpec& layer : model.layers) layer.pop_back();  // no MLP
  EXPECT_THAT(*ResolveTargetModules(model, {"all-linear"}),
              ::testing::ElementsAre("q_proj", "k_proj", "v_proj", "o_proj"));
  EXPECT_THAT(ErrorText(ResolveTargetModules(model, {"up_proj"})),
              ::testing::HasSubstr("up_proj is no linear module of this model"));
}

}  // namespace
}  // namespace fttrain
