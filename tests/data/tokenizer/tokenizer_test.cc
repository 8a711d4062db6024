#include "data/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/data/golden.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// As tokenizers does: of a token that another one's rstrip has taken nothing is left.
TEST(AddedTokens, ASpaceThatWasStrippedIsNoTokenAgain) {
  const auto token = [](int id, const char* content, bool lstrip) {
    return json{{"id", id},         {"content", content}, {"special", true},
                {"lstrip", lstrip}, {"rstrip", true},     {"single_word", true}};
  };
  const json spec = {
      {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}}}, {"merges", json::array()}}},
      {"added_tokens", {token(2, " ", true), token(3, "<x>", false)}}};
  const auto t = Tokenizer::FromJson(spec.dump(), "", "t").value();
  EXPECT_THAT(*t->Encode("  ", false), ElementsAre(2));
  EXPECT_THAT(*t->Encode("a  <x> b", false), ElementsAre(0, 2, 3, 1));
}

class EqualsHuggingFace : public testing::TestWithParam<const char*> {};

TEST_P(EqualsHuggingFace, OnEveryGoldenText) {
  const std::string name = GetParam();
  const auto tokenizer = GoldenTokenizer(name);
  const json texts = GoldenJson("texts.json"), want = GoldenJson(name + ".expected.json");
  ASSERT_GT(texts.size(), 250u);
  ASSERT_EQ(want["ids"].size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string text = texts[i];
    const auto ids = tokenizer->Encode(text, false).value();
    EXPECT_EQ(ids, want["ids"][i].get<std::vector<int32_t>>()) << texts[i];
    for (const bool skip : {false, true}) {
      const json& decoded = want[skip ? "decoded_skip_special" : "decoded"][i];
      EXPECT_EQ(tokenizer->Decode(ids, skip),
                decoded.is_null() ? text : decoded.get<std::string>());
    }
  }
  for (size_t i = 0; i < want["with_special"].size(); ++i) {
    EXPECT_EQ(*tokenizer->Encode(texts[i].get<std::string>(), true),
              want["with_special"][i].get<std::vector<int32_t>>())
        << texts[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EqualsHuggingFace,
                         testing::Values("gpt2", "smollm2", "llama3", "qwen2", "deepseek", "flags",
                                         "gemma", "llama2", "metaspace"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(Tokenizer, InvalidUtf8IsAnErrorThatNamesTheByte) {
  const auto tokenizer = GoldenTokenizer("gpt2");
  for (const char* text :
       {"ab\xFF", "ab\xC3", "ab\xED\xA0\x80", "ab\xC0\x80", "ab\xF4\x90\x80\x80"}) {
    const auto ids = tokenizer->Encode(text, false);
    EXPECT_THAT(ErrorText(ids), HasSubstr("at byte 2"));
  }
}

TEST(Tokenizer, DecodesBrokenBytesAsReplacementAndSkipsUnknownIds) {
  const auto tokenizer = GoldenTokenizer("gpt2");
  const std::vector<int32_t> bytes = *tokenizer->Encode("\xC3\xA9\xF0\x9F\x9A\x80", false);
  EXPECT_EQ(tokenizer->Decode({bytes.data(), 1}, false).substr(0, 3), "\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->Decode({999999, -1, bytes[0]}, false), tokenizer->Decode({bytes[0]}, false));
}

TEST(Tokenizer, KnowsItsSpecialTokens) {
  const auto tokenizer = GoldenTokenizer(
      "llama3", R"({"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}})");
  EXPECT_EQ(tokenizer->BosToken(), "<|begin_of_text|>");
  EXPECT_EQ(tokenizer->EosId(), tokenizer->TokenToId("<|eot_id|>"));
  EXPECT_EQ(tokenizer->IdToToken(*tokenizer->EosId()), "<|eot_id|>");
  EXPECT_EQ(GoldenTokenizer("llama3")->EosId(), std::nullopt);
}

TEST(Tokenizer, TakesMergesInBothSpellings) {
  json spec = GoldenJson("smollm2.tokenizer.json");
  ASSERT_TRUE(spec["model"]["merges"][0].is_array());
  for (json& merge : spec["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const auto old = Tokenizer::FromJson(spec.dump(), "", "t").value();
  const auto now = GoldenTokenizer("smollm2");
  for (const auto& text : GoldenJson("texts.json")) {
    EXPECT_EQ(*old->Encode(text.get<std::string>(), false),
              *now->Encode(text.get<std::string>(), false));
  }
}

size_t HeldBytes() {
  const struct mallinfo2 held = mallinfo2();
  return held.uordblks + held.hblkhd;
}

// {"a": 0, "b": id}
json TwoTokens(int64_t id) {
  return {
      {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", id}}}, {"merges", json::array()}}}};
}

TEST(Tokenizer, AnIdTakesNoMemoryForThoseBelowIt) {
  const std::string text = TwoTokens((1 << 24) - 1).dump();
  const size_t before = HeldBytes();
  const auto t = Tokenizer::FromJson(text, "", "t").value();
  EXPECT_LT(HeldBytes() - before, size_t{1} << 20);
  EXPECT_EQ(t->MaxId(), (1 << 24) - 1);
  EXPECT_EQ(t->IdToToken(t->MaxId()), "b");
  EXPECT_EQ(t->IdToToken(t->MaxId() - 1), "");
  EXPECT_THAT(NoteTokensBeyond(*t, 1), HasSubstr("token 'b' has id 16777215, but"));
}

TEST(Tokenizer, WhatIsMadeOfItsTokensDoesNotExhaustMemory) {
  const json replace = {
      {"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(1 << 20, 'c')}};
  json spec = TwoTokens(1);
  spec["decoder"] = replace;
  const auto t = Tokenizer::FromJson(spec.dump(), "", "t").value();
  EXPECT_EQ(t->Decode({0, 1}, false).size(), (1u << 20) + 1);
  EXPECT_LT(t->Decode(std::vector<int32_t>(70, 0), false).size(), (1u << 26) + 70);
  spec["normalizer"] = replace;
  for (int i = 0; i < 17; ++i) {
    spec["added_tokens"].push_back({{"id", 2 + i}, {"content", "a" + std::to_string(i)}});
  }
  EXPECT_THAT(ErrorText(Tokenizer::FromJson(spec.dump(), "", "t")),
              HasSubstr("the added tokens, normalized, are more than 16777216 bytes"));
}

TEST(Tokenizer, TokensAroundATextAreBounded) {
  json spec = TwoTokens(1);
  json single = json::array({{{"Sequence", {{"id", "A"}, {"type_id", 0}}}}});
  for (int i = 0; i < 300; ++i) single.push_back({{"SpecialToken", {{"id", "s"}, {"type_id", 0}}}});
  spec["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", single},
                            {"special_tokens", {{"s", {{"ids", std::vector<int>(300, 1)}}}}}};
  EXPECT_THAT(ErrorText(Tokenizer::FromJson(spec.dump(), "", "t")),
              HasSubstr("t: post_processor.single: puts more than 65536 tokens around a text"));
}

TEST(Tokenizer, WithoutAFileIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::Load("/nonexistent").status()));
}

struct Refusal {
  const char* what;
  const char* pointer;  // where to put it in the file
  const char* value;
  const char* message;
};

// What is not understood is refused by JSON path and type, never skipped.
TEST(Tokenizer, RefusesByNameWhatItDoesNotUnderstand) {
  const Refusal table[] = {
      {"model type", "/model/type", R"("WordPiece")",
       "t: model.type: 'WordPiece' is not supported"},
      {"normalizer", "/normalizer", R"({"type": "BertNormalizer"})",
       "t: normalizer.type: 'BertNormalizer'"},
      {"nested normalizer", "/normalizer",
       R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})",
       "t: normalizer.normalizers[1].type: 'Nmt'"},
      {"pre-tokenizer", "/pre_tokenizer", R"({"type": "Whitespace"})",
       "t: pre_tokenizer.type: 'Whitespace'"},
      {"after ByteLevel", "/pre_tokenizer",
       R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]})",
       "t: pre_tokenizer.pretokenizers[1].type: Digits behind ByteLevel"},
      {"behavior", "/pre_tokenizer",
       R"({"type": "Split", "pattern": {"String": " "}, "behavior": "Other"})",
       "t: pre_tokenizer.behavior: 'Other'"},
      {"regex", "/pre_tokenizer",
       R"({"type": "Split", "pattern": {"Regex": "[a&&b]"}, "behavior": "Isolated"})",
       "t: pre_tokenizer.pattern.Regex: regular expression uses '&&'"},
      {"post-processor", "/post_processor", R"({"type": "BertProcessing"})",
       "t: post_processor.type: 'BertProcessing'"},
      {"more than a space", "/pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})",
       "t: pre_tokenizer.replacement: one character is needed"},
      {"decoder", "/decoder", R"({"type": "WordPiece"})", "t: decoder.type: 'WordPiece'"},
      {"decoder of more than a space", "/decoder", R"({"type": "Metaspace", "replacement": "ab"})",
       "t: decoder.replacement: one character is needed"},
      {"stripping more than a space", "/decoder",
       R"({"type": "Strip", "content": "ab", "start": 1, "stop": 0})",
       "t: decoder.content: one character is needed"},
      {"dropout", "/model/dropout", "0.1", "t: model.dropout: this option is not supported"},
      {"prefix", "/model/continuing_subword_prefix", R"("##")",
       "t: model.continuing_subword_prefix"},
      {"suffix", "/model/end_of_word_suffix", R"("</w>")", "t: model.end_of_word_suffix"},
      {"merge", "/model/merges/0", R"("a b c")", "t: model.merges[0]: a merge is two tokens"},
      {"merge of unknown", "/model/merges/0", R"(["zz", "yy"])",
       "t: model.merges[0]: merge 'zz' + 'yy'"},
      {"id", "/model/vocab/a", "-3", "t: model.vocab['a']: -3 is not in"},
      {"id type", "/model/vocab/a", R"("x")", "t: model.vocab['a']: an integer is needed"},
      {"vocab", "/model/vocab", "{}", "t: model.vocab"},
      {"no merges", "/model/merges", "null", "t: model.merges: an array is needed"},
      {"added id", "/added_tokens/0/id", "-7", "t: added_tokens[0].id: -7 is not in"},
      {"unknown key", "/extra", "1", "t: key 'extra' is not known"},
      {"unknown key of the model", "/model/cache", "1", "t: model: key 'cache' is not known"},
      {"unknown key of a step", "/pre_tokenizer/trim", "true",
       "t: pre_tokenizer: key 'trim' is not known"},
      {"unknown key of a token", "/added_tokens/0/color", "1",
       "t: added_tokens[0]: key 'color' is not known"},
      {"added content", "/added_tokens/0/content", R"("")", "t: added_tokens[0]: an empty token"},
      {"flag", "/added_tokens/0/special", "1",
       "t: added_tokens[0].special: true or false is needed"},
  };
  for (const Refusal& refusal : table) {
    json spec = GoldenJson("gpt2.tokenizer.json");
    spec[json::json_pointer(refusal.pointer)] = json::parse(refusal.value);
    const auto tokenizer = Tokenizer::FromJson(spec.dump(), "", "t");
    EXPECT_THAT(ErrorText(tokenizer), HasSubstr(refusal.message)) << refusal.what;
  }
}

TEST(Tokenizer, RefusesFilesThatAreNotJson) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"), deep,
        std::string("{\"a\": \"\xFF\"}"), std::string("{} {}")}) {
    const auto tokenizer = Tokenizer::FromJson(text, "", "bad.json");
    EXPECT_THAT(ErrorText(tokenizer), HasSubstr("bad.json"));
  }
}

}  // namespace
}  // namespace fttrain
