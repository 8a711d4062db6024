// tekken.json, and which file of a folder counts. That ids equal the libraries' is shown by
// differential_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "tests/data/golden.h"
#include "tests/data/tokenizer/spm_file.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json Tekken() {
  json vocab = json::array();
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    vocab.push_back(
        {{"rank", b}, {"token_bytes", absl::Base64Escape(byte)}, {"token_str", nullptr}});
  }
  vocab.push_back({{"rank", 256}, {"token_bytes", absl::Base64Escape("ab")}, {"token_str", "ab"}});
  vocab.push_back({{"rank", 257}, {"token_bytes", absl::Base64Escape("zz")}, {"token_str", "zz"}});
  return {{"config",
           {{"pattern", "[ab]+|."},
            {"num_vocab_tokens", 258},
            {"default_vocab_size", 257 + 30},
            {"default_num_special_tokens", 30},
            {"version", "v3"}}},
          {"vocab", vocab}};
}

TEST(TekkenFolder, IdsStandBehindTheSpecialTokens) {
  const auto t = Tokenizer::FromTekken(Tekken().dump(), "", "k").value();
  EXPECT_THAT(Ids(*t, "abab", true), ElementsAre(1, 286, 286));
  EXPECT_THAT(Ids(*t, "[INST]zz</s>"), ElementsAre(3, 30 + 'z', 30 + 'z', 2));  // zz: rank beyond
  EXPECT_EQ(t->MaxId(), 286);
  EXPECT_EQ(t->EosToken(), "</s>");
  EXPECT_EQ(t->IdToToken(29), "<SPECIAL_29>");
  EXPECT_EQ(t->Decode(Ids(*t, "a\xC3\xA9 b"), false), "a\xC3\xA9 b");
  EXPECT_THAT(Ids(*t, "a\nb"), ElementsAre(30 + 'a', 30 + 'b'));  // the pattern passes it over
}

TEST(TekkenFolder, RefusesByNameWhatItDoesNotUnderstand) {
  const std::string longer = json(absl::Base64Escape(std::string(1025, 'c'))).dump();
  const std::tuple<const char*, const char*, const char*> table[] = {
      {"/extra", "1", "k: key 'extra' is not known"},
      {"/config/lowercase", "true", "k: config: key 'lowercase' is not known"},
      {"/config/pattern", R"("a$")", "k: config.pattern: the anchors $"},
      {"/config/pattern", R"("[^a]|^a")", "k: config.pattern: the anchors $"},
      {"/config/pattern", R"("\\w")", "k: config.pattern: regular expression uses \\w"},
      {"/config/version", R"("v13")", "k: special_tokens: needed in a file of version v13"},
      {"/config/default_vocab_size", "400", "k: vocab: fewer than 370 tokens"},
      {"/config/default_num_special_tokens", "5", "k: config.default_num_special_tokens: fewer"},
      {"/vocab/3/rank", "2", "k: vocab[3].rank: a rank that stands twice"},
      {"/vocab/3/token_bytes", R"("?")", "k: vocab[3].token_bytes: base64"},
      {"/vocab/3/token_bytes", R"("AA==")", "k: vocab: token"},
      {"/vocab/3/token_bytes", longer.c_str(), "k: vocab[3].token_bytes: longer than 1024 bytes"},
      {"/vocab/3/rank", "1000", "k: vocab: rank 3 is missing"},
  };
  for (const auto& [pointer, value, message] : table) {
    json spec = Tekken();
    spec[json::json_pointer(pointer)] = json::parse(value);
    EXPECT_THAT(ErrorText(Tokenizer::FromTekken(spec.dump(), "", "k")), HasSubstr(message));
  }
}

TEST(TekkenFolder, SpecialTokensWithoutASpellingAreBounded) {
  json spec = Tekken();
  spec["config"]["default_vocab_size"] = 65536 + 300;
  spec["config"]["default_num_special_tokens"] = 65537;
  EXPECT_THAT(ErrorText(Tokenizer::FromTekken(spec.dump(), "", "k")),
              HasSubstr("k: config.default_num_special_tokens: "));
}

TEST(TokenizerFolder, TakesTokenizerJsonThenTekkenThenSentencePiece) {
  const TempFolder folder;
  EXPECT_THAT(ErrorText(Tokenizer::Load(folder.path())), HasSubstr("tokenizer.model"));
  folder.Write("tokenizer.model", Small().text());
  EXPECT_EQ((*Tokenizer::Load(folder.path()))->MaxId(), 7);
  folder.Write("tekken.json", Tekken().dump());
  EXPECT_EQ((*Tokenizer::Load(folder.path()))->MaxId(), 286);
  folder.Write("tokenizer.json", GoldenText("gpt2.tokenizer.json"));
  EXPECT_EQ((*Tokenizer::Load(folder.path()))->MaxId(), GoldenTokenizer("gpt2")->MaxId());
}

TEST(TokenizerFolder, AddedTokensComeFromTheConfigOrFromTheOlderFile) {
  const TempFolder folder;
  folder.Write("tokenizer.model", Small().text());
  folder.Write("added_tokens.json", R"({"<pad>": 8})");
  const auto old = Tokenizer::Load(folder.path()).value();
  EXPECT_THAT(Ids(*old, "<pad>ab"), ElementsAre(8, 6));
  folder.Write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"9": {"content": "<tool>", "normalized": true}}})");
  const auto now = Tokenizer::Load(folder.path()).value();
  EXPECT_THAT(Ids(*now, "<tool>ab"), ElementsAre(8, 6));
  EXPECT_EQ(now->TokenToId("<pad>"), std::nullopt);
  EXPECT_THAT(now->Notes(), testing::Contains(HasSubstr("'<tool>' has the id 8, not 9")));
  EXPECT_THAT(now->Notes(), testing::Contains(HasSubstr("added_tokens.json has '<pad>'")));
  folder.Write("tokenizer_config.json",
               R"({"added_tokens_decoder": {"5": {"content": "<tool>"}, "4": {"content": "b"}}})");
  EXPECT_THAT(ErrorText(Tokenizer::Load(folder.path())),
              HasSubstr("'<tool>' has the id of the model's piece 'b': renaming"));
}

TEST(TokenizerFolder, AnOlderFileBesideATokenizerJsonAddsWhatItLacks) {
  const TempFolder folder;
  folder.Write("tokenizer.json", GoldenText("gpt2.tokenizer.json"));
  folder.Write("added_tokens.json", R"({"<pad>": 16000000, "<unread>": 0})");
  const auto t = Tokenizer::Load(folder.path()).value();
  EXPECT_EQ(t->TokenToId("<pad>"), GoldenTokenizer("gpt2")->MaxId() + 1);
  EXPECT_EQ(t->TokenToId("<unread>"), std::nullopt);  // its id is one of tokenizer.json's
  EXPECT_THAT(t->Notes(), ElementsAre(HasSubstr("added_tokens.json['<pad>']: '<pad>' has the id")));
}

TEST(TokenizerFolder, OfTheFilesThatNameTokensOneCounts) {
  const TempFolder folder;
  folder.Write("tokenizer.json", GoldenText("smollm2.tokenizer.json"));
  folder.Write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>"})");
  folder.Write("special_tokens_map.json", R"({"eos_token": {"content": "<|im_end|>"}})");
  const auto older = Tokenizer::Load(folder.path()).value();
  EXPECT_EQ(older->EosToken(), "<|im_end|>");
  EXPECT_THAT(older->Notes(), ElementsAre(HasSubstr("special_tokens_map.json: the latter counts")));
  folder.Write("tokenizer_config.json",
               R"({"eos_token": "<|endoftext|>", "added_tokens_decoder": {}})");
  const auto now = Tokenizer::Load(folder.path()).value();
  EXPECT_EQ(now->EosToken(), "<|endoftext|>");
  EXPECT_THAT(now->Notes(), ElementsAre(HasSubstr("special_tokens_map.json: the former counts")));
}

TEST(TokenizerFolder, ConfigKeysThatWouldChangeIdsAreRefusedOrNoted) {
  const TempFolder folder;
  folder.Write("tokenizer.model", Small().text());
  folder.Write("tokenizer_config.json", R"({"add_prefix_space": false})");
  EXPECT_THAT(ErrorText(Tokenizer::Load(folder.path())), HasSubstr("add_prefix_space: another"));
  folder.Write(
      "tokenizer_config.json",
      R"({"add_bos_token": true, "add_prefix_space": true, "split_special_tokens": false, "pad_token": "[PAD]",
                   "unk_token": {"content": "<unk>"}, "additional_special_tokens": ["<x>", "ab"]})");
  const auto t = Tokenizer::Load(folder.path()).value();
  EXPECT_THAT(Ids(*t, "ab[PAD]<x>"), ElementsAre(6, 8, 9));  // "ab" before a space is put there
  EXPECT_THAT(t->Notes(), ElementsAre(HasSubstr("pad_token: the tokenizer has no token '[PAD]'; it "
                                                "is added, as in transformers 5, with the id 8; "
                                                "so it is with 2 tokens")));
  folder.Write("tokenizer_config.json", R"({"split_special_tokens": true})");
  for (const auto& [name, text] : {std::pair<const char*, std::string>{"tokenizer.model", ""},
                                   {"tekken.json", Tekken().dump()},
                                   {"tokenizer.json", GoldenText("gpt2.tokenizer.json")}}) {
    if (!text.empty()) folder.Write(name, text);
    EXPECT_THAT(ErrorText(Tokenizer::Load(folder.path())), HasSubstr("split_special_tokens"));
  }
}

TEST(TokenizerFolder, ThreadsShareATokenizer) {
  const json texts = GoldenJson("texts.json");
  for (const char* name : {"llama3", "llama2"}) {
    const auto t = GoldenTokenizer(name);
    std::vector<std::vector<int32_t>> want;
    for (const json& text : texts) want.push_back(Ids(*t, text));
    std::vector<int> equal(4, 0);
    std::vector<std::thread> threads;
    for (int& count : equal) {
      threads.emplace_back([&] {
        for (size_t i = 0; i < texts.size(); ++i) count += Ids(*t, texts[i]) == want[i];
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(equal, testing::Each(static_cast<int>(texts.size())));
  }
}

// The post-processor's tokens stand around a text once, also where the text brings them along.
TEST(TokenizerFolder, SpecialTokensStandAroundATextOnce) {
  json spec = GoldenJson("llama3.tokenizer.json");
  const auto bos = GoldenTokenizer("llama3")->TokenToId("<|begin_of_text|>").value();
  const auto eos = GoldenTokenizer("llama3")->TokenToId("<|end_of_text|>").value();
  const auto token = [](const char* id) {
    return json{{"SpecialToken", {{"id", id}, {"type_id", 0}}}};
  };
  spec["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {token("b"), {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, token("e")}},
      {"pair", json::array()},
      {"special_tokens",
       {{"b", {{"id", "b"}, {"ids", {bos}}, {"tokens", {"<|begin_of_text|>"}}}},
        {"e", {{"id", "e"}, {"ids", {eos}}, {"tokens", {"<|end_of_text|>"}}}}}}};
  const auto t = Tokenizer::FromJson(spec.dump(), "", "t").value();
  const std::vector<int32_t> want = Ids(*t, "<|begin_of_text|>the heron<|end_of_text|>");
  for (const char* text : {"the heron", "<|begin_of_text|>the heron", "the heron<|end_of_text|>",
                           "<|begin_of_text|>the heron<|end_of_text|>"}) {
    EXPECT_EQ(Ids(*t, text, true), want) << text;
  }
  EXPECT_THAT(Ids(*t, "", true), ElementsAre(bos, eos));
  EXPECT_THAT(Ids(*t, "<|end_of_text|>", true), ElementsAre(bos, eos));
  const SegmentedIds parts = *t->EncodeSegments({"the", " heron"}, true);
  EXPECT_EQ(parts.ids, want);
  EXPECT_EQ(parts.ends[1], static_cast<int64_t>(want.size()));
  EXPECT_EQ(parts.ends[0], t->EncodeSegments({"<|begin_of_text|>the", " heron"}, true)->ends[0]);
}

TEST(TokenizerFolder, SaysThatItPutsABosWhereNoFileAsksForOne) {
  const auto t = Tokenizer::FromSentencePiece(Small().text(), "", "m").value();
  EXPECT_THAT(t->Notes(),
              ElementsAre(HasSubstr("no file says whether '<s>' is put in front of each text")));
}

TEST(TokenizerFolder, SaysWhereItsFilesDisagree) {
  const auto t = GoldenTokenizer("gpt2", R"({"add_bos_token": true, "add_eos_token": false})");
  EXPECT_THAT(t->Notes(),
              ElementsAre(HasSubstr("add_bos_token: true, but tokenizer.json adds none")));
}

}  // namespace
}  // namespace fttrain
