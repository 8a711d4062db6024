#include "launch/check/tokenizer_fit.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// `words` words, then "</s>" as a special token, which ends texts.
std::unique_ptr<Tokenizer> TokenizerOf(int64_t words) {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (int64_t i = 0; i < words; ++i) vocabulary[absl::StrCat("word", i)] = i;
  const nlohmann::json end = {{"id", words},          {"content", "</s>"}, {"special", true},
                              {"single_word", false}, {"lstrip", false},   {"rstrip", false},
                              {"normalized", false}};
  const nlohmann::json file = {
      {"version", "1.0"},
      {"added_tokens", {end}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
  return Tokenizer::FromJson(file.dump(), R"({"eos_token": "</s>"})", "tokenizer.json").value();
}

ModelSpec ModelOf(int64_t rows, std::vector<int64_t> ends) {
  ModelSpec model;
  model.vocab_size = rows;
  model.eos_token_ids = std::move(ends);
  return model;
}

TEST(TokenizerFit, OneThatHasAnEndAndAlmostAsManyTokensAsRowsFits) {
  const auto tokenizer = TokenizerOf(49'000);
  for (const int64_t rows : {49'001, 49'152, 48'900}) {  // exactly, padded, a few added tokens
    const TokenizerFit fit = FitOf(*tokenizer, ModelOf(rows, {49'000}));
    EXPECT_THAT(fit.fault, IsEmpty());
    EXPECT_THAT(fit.warning, IsEmpty());
  }
}

TEST(TokenizerFit, TokensWithoutRowsAreAFault) {
  EXPECT_THAT(FitOf(*TokenizerOf(49'000), ModelOf(32'000, {2})).fault,
              HasSubstr("17,001 tokens without a row in the model's embedding of 32,000 rows"));
}

TEST(TokenizerFit, RowsWithoutTokensAreAFault) {
  EXPECT_THAT(FitOf(*TokenizerOf(31'999), ModelOf(49'152, {31'999})).fault,
              HasSubstr("the tokenizer's 32,000 tokens leave 17,152 of the embedding's 49,152"));
}

TEST(TokenizerFit, AnEndOfTextsThatIsAWordIsAFault) {
  EXPECT_THAT(FitOf(*TokenizerOf(31'999), ModelOf(32'000, {2})).fault,
              HasSubstr("ends texts with token 2 (eos_token_id), which is the word 'word2' in"));
  EXPECT_THAT(FitOf(*TokenizerOf(31'999), ModelOf(32'000, {2, 31'999})).fault, IsEmpty());
}

TEST(TokenizerFit, OfASmallEmbeddingThatIsAWarning) {
  const TokenizerFit fit = FitOf(*TokenizerOf(257), ModelOf(512, {2}));
  EXPECT_THAT(fit.fault, IsEmpty());
  EXPECT_THAT(fit.warning, HasSubstr("which is the word 'word2'"));
}

}  // namespace
}  // namespace fttrain
