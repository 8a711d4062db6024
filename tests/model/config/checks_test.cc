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

}  // namespace
}  // namespace fttrain
