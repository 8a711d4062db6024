#include "data/chat/taught_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/golden.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kTurn[] = "<|im_end|>";

class TaughtTokensTest : public testing::Test {
 protected:
  // An example that learns its last `targets` tokens.
  Example Learns(std::string_view text, size_t targets) const {
    Example example;
    example.input_ids = tokenizer_->Encode(text, false).value();
    example.labels = example.input_ids;
    std::fill(example.labels.begin(), example.labels.end() - targets, kNoTarget);
    return example;
  }
  // "<|im_end|> ends learnt" of each token.
  std::vector<std::string> Told(const std::vector<Example>& examples,
                                std::string_view end_of_turn) const {
    std::vector<std::string> told;
    for (const TaughtToken& token : TaughtTokens(examples, *tokenizer_, end_of_turn)) {
      EXPECT_EQ(tokenizer_->TokenToId(token.text), token.id);
      told.push_back(token.text + (token.ends ? " ends" : "") + (token.learnt ? " learnt" : ""));
    }
    return told;
  }
  const std::unique_ptr<Tokenizer> tokenizer_ =
      GoldenTokenizer("smollm2", R"({"eos_token": "<|endoftext|>"})");
};

TEST_F(TaughtTokensTest, AreTheEndOfAConversationsTurns) {
  const Example chat = Learns("<|im_start|>user\nHi<|im_end|>\n<|im_start|>a\nYo<|im_end|>", 2);
  EXPECT_THAT(Told({chat}, kTurn), ElementsAre("<|im_end|> ends learnt"));
}

TEST_F(TaughtTokensTest, HaveAnEndThatIsNotLearnt) {
  EXPECT_THAT(Told({Learns("Hi<|im_end|>\nYo", 1)}, kTurn), ElementsAre("<|im_end|> ends"));
  Example first = Learns("<|im_end|>Yo", 3);  // nothing predicts a first token
  EXPECT_THAT(Told({first}, kTurn), ElementsAre("<|im_end|> ends"));
}

TEST_F(TaughtTokensTest, AreTheEosOfTextsAndOtherSpecialTokensAmongTargets) {
  EXPECT_THAT(Told({Learns("Hi<|endoftext|>", 1)}, ""), ElementsAre("<|endoftext|> ends learnt"));
  EXPECT_THAT(Told({Learns("<|endoftext|>Hi", 1)}, ""), IsEmpty());
  EXPECT_THAT(
      Told({Learns("Hi<|im_start|>a\n<|im_end|>", 5), Learns("Yo<|endoftext|>", 1)}, kTurn),
      ElementsAre("<|endoftext|> ends learnt", "<|im_start|> learnt", "<|im_end|> ends learnt"));
}

TEST_F(TaughtTokensTest, AreNoneOfExamplesWithoutThem) {
  EXPECT_THAT(Told({}, kTurn), IsEmpty());
  EXPECT_THAT(Told({Learns("Hi, you", 2)}, kTurn), IsEmpty());
  const int32_t beyond = tokenizer_->MaxId() + 1;
  EXPECT_THAT(Told({{{0, beyond}, {0, beyond}, ""}}, kTurn), ElementsAre());
}

}  // namespace
}  // namespace fttrain
