// Which ids added tokens have, and what becomes of a text that uses one without a row. That the ids
// are those of `tokenizers` and transformers on many texts is shown by differential_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json Token(int64_t id, const std::string& content) {
  return {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
}

// 0 a, 1 b, 2 ab
json Spec(const json& added, json vocab = {{"a", 0}, {"b", 1}, {"ab", 2}}) {
  return {{"model", {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", {"a b"}}}},
          {"added_tokens", added}};
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Made(const json& spec, const std::string& config = "") {
  return Tokenizer::FromJson(spec.dump(), config, "t");
}

std::vector<int32_t> Ids(const Tokenizer& tokenizer, const std::string& text) {
  return tokenizer.Encode(text, false).value();
}

TEST(AddedIds, FollowTheVocabularyInTheOrderOfTheFile) {
  const auto t = Made(Spec(json::array({Token(512, "<p>"), Token(7, "<q>")}))).value();
  EXPECT_THAT(Ids(*t, "<q>ab<p>"), ElementsAre(4, 2, 3));
  EXPECT_THAT(t->Notes(), ElementsAre("t: added_tokens[0]: '<p>' has the id 3, not 512: tokenizers "
                                      "and transformers 5 give a token the vocabulary's id or the "
                                      "next behind it, whatever the file says; so it is with 2 "
                                      "tokens"));
  EXPECT_THAT((*Made(Spec(json::array({Token(3, "<p>"), Token(4, "<q>")}))))->Notes(), IsEmpty());
}

TEST(AddedIds, OfATokenOfTheVocabularyIsThatOfTheVocabulary) {
  const auto t = Made(Spec(json::array({Token(9, "b"), Token(3, "<p>")}))).value();
  EXPECT_THAT(Ids(*t, "ab<p>"), ElementsAre(0, 1, 3));  // found before any merge
  EXPECT_THAT(t->Notes(), ElementsAre(HasSubstr("added_tokens[0]: 'b' has the id 1, not 9")));
}

TEST(AddedIds, CountFromTheNumberOfTokensWhereTheVocabularyHasGaps) {
  const json gaps = {{"a", 0}, {"b", 1}, {"ab", 7}};
  const auto t = Made(Spec(json::array({Token(7, "ab"), Token(8, "<p>")}), gaps)).value();
  EXPECT_THAT(Ids(*t, "ab<p>"), ElementsAre(7, 3));
  const json full = {{"a", 0}, {"b", 3}, {"ab", 7}};
  const auto two =
      Made(Spec(json::array({Token(8, "<p>")}), full)).value();  // as the library has it
  EXPECT_THAT(Ids(*two, "b<p>"), ElementsAre(3, 3));
  EXPECT_THAT(two->Notes(), testing::Contains(HasSubstr("'b' and '<p>' have one id, 3")));
}

TEST(AddedIds, OfATokenThatStandsTwiceTheLaterFlagsCount) {
  json later = Token(4, "<p>");
  later["lstrip"] = true;
  const auto t = Made(Spec(json::array({Token(3, "<p>"), later, Token(5, "<q>")}))).value();
  EXPECT_THAT(Ids(*t, "a  <p><q>"), ElementsAre(0, 3, 4));
}

// Of the config's tokens new ones follow in the order of its ids, and flags replace.
TEST(AddedIds, OfTokenizerConfigComeBehindAndItsFlagsCount) {
  const json spec = Spec(json::array({Token(3, "<p>")}));
  const auto t = Made(spec, R"({"added_tokens_decoder": {
      "100": {"content": "<r>", "special": true}, "20": {"content": "<q>", "special": true},
      "3": {"content": "<p>", "lstrip": true}}})");
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Ids(**t, "a <p><q><r>"), ElementsAre(0, 3, 4, 5));
  EXPECT_THAT((*t)->Notes(),
              ElementsAre(HasSubstr("added_tokens_decoder['20']: '<q>' has the id 4, not 20"),
                          HasSubstr("added_tokens_decoder['3']: '<p>' has other flags")));
}

// In transformers' order, behind what tokenizer.json has; one that the vocabulary has is found
// first.
TEST(ConfigTokens, NamedAndListedOnesAreAdded) {
  const auto t = Made(Spec(json::array({Token(3, "<p>")})), R"({
      "pad_token": "<pad>", "eos_token": "b", "bos_token": null, "image_token": "<image>",
      "extra_special_tokens": ["<x>", {"content": "<y>", "lstrip": true}],
      "additional_special_tokens": ["<not read>"]})");
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Ids(**t, "ab<p><pad><image><x> <y>"), ElementsAre(0, 1, 3, 4, 5, 6, 7));
  EXPECT_EQ((*t)->TokenToId("<not read>"), std::nullopt);
  EXPECT_EQ((*t)->EosId(), 1);
  EXPECT_EQ((*t)->Decode({0, 1}, true), "a");
  EXPECT_THAT((*t)->Notes(), ElementsAre(HasSubstr(
                                 "pad_token: the tokenizer has no token '<pad>'; it is added, as "
                                 "in transformers 5, with the id 4; so it is with 4 tokens")));
}

TEST(ConfigTokens, OtherFlagsAreNotedAndCount) {
  const auto t = Made(Spec(json::array({Token(3, "<p>")})),
                      R"({"added_tokens_decoder": {"3": {"content": "<p>", "rstrip": true}}})");
  EXPECT_THAT(Ids(**t, "<p>  a"), ElementsAre(3, 0));
  EXPECT_THAT((*t)->Notes(), ElementsAre(HasSubstr("['3']: '<p>' has other flags")));
}

TEST(ConfigTokens, WhatIsNoTokenIsRefused) {
  const std::pair<const char*, const char*> table[] = {
      {R"({"eos_token": 5})", "eos_token: a string is needed"},
      {R"({"extra_special_tokens": "<x>"})", "extra_special_tokens: a list of tokens is needed"},
      {R"({"extra_special_tokens": [7]})", "extra_special_tokens[0]: a string is needed"},
      {R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})", "['x']: the key is no id"},
      {R"({"added_tokens_decoder": {"9": {"content": "<x>", "color": 1}}})",
       "'color' is not known"},
      {R"({"split_special_tokens": true})", "split_special_tokens"},
  };
  for (const auto& [config, message] : table) {
    EXPECT_THAT(ErrorText(Made(Spec(json::array()), config)), HasSubstr(message));
  }
}

TEST(ConfigKeys, ThatAreNotFollowedAreNoted) {
  const auto notes = [](const char* config) {
    return (*Made(Spec(json::array()), config))->Notes();
  };
  EXPECT_THAT(notes(R"({"add_prefix_space": true})"),
              ElementsAre(HasSubstr("but tokenizer.json puts no space in front of a text")));
  EXPECT_THAT(notes(R"({"add_prefix_space": false, "fix_mistral_regex": false})"), IsEmpty());
  EXPECT_THAT(notes(R"({"clean_up_tokenization_spaces": true})"), IsEmpty());  // BPE
  EXPECT_THAT(notes(R"({"fix_mistral_regex": true})"), ElementsAre(HasSubstr("is not applied")));
  EXPECT_THAT(notes(R"({"auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", null]}})"),
              ElementsAre(HasSubstr("auto_map")));
}

TEST(ConfigKeys, CleaningUpIsNotedWhereTransformersDoesIt) {
  const json spec = json::parse(
      R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}})");
  const auto t = Made(spec, R"({"clean_up_tokenization_spaces": true})");
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT((*t)->Notes(), ElementsAre(HasSubstr("clean_up_tokenization_spaces")));
}

TEST(PostProcessor, AnIdThatIsNotItsTokensIsNoted) {
  json spec = Spec(json::array({Token(9, "<p>")}));
  spec["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<p>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
      {"pair", json::array()},
      {"special_tokens", {{"<p>", {{"id", "<p>"}, {"ids", {9}}, {"tokens", {"<p>"}}}}}}};
  const auto t = Made(spec).value();
  EXPECT_THAT(*t->Encode("a", true), ElementsAre(9, 0));
  EXPECT_THAT(t->Notes(), testing::Contains(HasSubstr("post_processor puts the id 9 around a text "
                                                      "for '<p>', whose id is 3")));
}

// 258 tokens and a padding token that has no row, written as 512.
TEST(TokensBeyondTheEmbedding, StopOnlyATextThatUsesOne) {
  json vocab = {{"a", 0}, {"b", 1}, {"ab", 2}};
  for (int i = 3; i < 258; ++i) vocab[absl::StrCat("<filler ", i, ">")] = i;
  const auto t = Made(Spec(json::array({Token(512, "<pad>")}), vocab)).value();
  EXPECT_EQ(t->TokenToId("<pad>"), 258);
  EXPECT_TRUE(CheckIdsFit(*t, Ids(*t, "abab"), 258).ok());
  EXPECT_THAT(ErrorText(CheckIdsFit(*t, Ids(*t, "ab<pad>"), 258)),
              HasSubstr("token '<pad>' has id 258, but the model's embedding has 258 rows"));
  EXPECT_THAT(NoteTokensBeyond(*t, 258), HasSubstr("token '<pad>' has id 258, but"));
  EXPECT_THAT(NoteTokensBeyond(*t, 257), HasSubstr("so it is with 2 tokens"));
  EXPECT_EQ(NoteTokensBeyond(*t, 259), "");
  EXPECT_TRUE(CheckIdsFit(*t, Ids(*t, "ab<pad>"), 513).ok());
  EXPECT_THAT(
      ErrorText(CheckIdsFit(*t, Ids(*t, "ab<pad>"), 512)),
      HasSubstr("token '<pad>' has id 512 in a file of its folder (and 258 by tokenizers)"));
}

}  // namespace
}  // namespace fttrain
