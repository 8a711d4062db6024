// tokenizer.model and tekken.json: what a file asks for, what is refused. That ids equal the
// libraries' is shown by differential_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/tokenizer/tokenizer.h"
#include "tests/data/golden.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// A protobuf message, field by field.
std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
std::string Integer(int field, int64_t value) {
  return Varint(static_cast<uint64_t>(field) << 3) + Varint(static_cast<uint64_t>(value));
}
std::string Bytes(int field, const std::string& value) {
  return Varint(static_cast<uint64_t>(field) << 3 | 2) + Varint(value.size()) + value;
}
std::string Float(int field, float value) {
  return Varint(static_cast<uint64_t>(field) << 3 | 5) +
         std::string(reinterpret_cast<const char*>(&value), 4);
}

constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

struct SpmFile {
  std::string pieces, trainer = Integer(3, 2), normalizer = Integer(4, 0);
  SpmFile& Add(const std::string& text, float score, int type = kNormal) {
    pieces += Bytes(1, Bytes(1, text) + Float(2, score) + Integer(3, type));
    return *this;
  }
  std::string text() const { return pieces + Bytes(2, trainer) + Bytes(3, normalizer); }
};

const std::string kSpace = "\xE2\x96\x81";

// 0 <unk>, 1 <s>, 2 </s>, 3 space, 4 a, 5 b, 6 ab, 7 space ab
SpmFile Small() {
  SpmFile file;
  file.Add("<unk>", 0, kUnknown).Add("<s>", 0, kControl).Add("</s>", 0, kControl);
  file.Add(kSpace, -4).Add("a", -5).Add("b", -6).Add("ab", -1).Add(kSpace + "ab", -2);
  return file;
}

std::vector<int32_t> Ids(const Tokenizer& tokenizer, const std::string& text,
                         bool special = false) {
  return tokenizer.Encode(text, special).value();
}

TEST(SentencePieceFolder, BestScoreMergesFirstAndUnknownCharactersFuse) {
  const auto t = Tokenizer::FromSentencePiece(Small().text(), "", "m").value();
  EXPECT_THAT(Ids(*t, "ab ab"), ElementsAre(7, 7));
  EXPECT_THAT(Ids(*t, "xyab"), ElementsAre(3, 0, 6));
  EXPECT_EQ(t->Decode({7, 7, 4}, false), "ab aba");
}

TEST(SentencePieceFolder, ControlTokensAreFoundAndTheSpaceStandsAtTheStart) {
  const auto t = Tokenizer::FromSentencePiece(Small().text(), "", "m").value();
  EXPECT_THAT(Ids(*t, "<s>ab</s>ab"), ElementsAre(1, 6, 2, 6));
  const auto legacy = Tokenizer::FromSentencePiece(Small().text(), R"({"legacy": true})", "m");
  EXPECT_THAT(Ids(**legacy, "<s>ab</s>ab"), ElementsAre(1, 7, 2, 7));
}

TEST(SentencePieceFolder, ABosStandsInFrontOnceUnlessTheConfigSaysOtherwise) {
  const auto t = Tokenizer::FromSentencePiece(Small().text(), "", "m").value();
  EXPECT_EQ(t->BosToken(), "<s>");
  EXPECT_EQ(t->EosToken(), "</s>");
  EXPECT_THAT(Ids(*t, "ab", true), ElementsAre(1, 7));
  EXPECT_THAT(Ids(*t, "<s>ab", true), ElementsAre(1, 6));
  const auto eos = Tokenizer::FromSentencePiece(
      Small().text(), R"({"add_bos_token": false, "add_eos_token": true})", "m");
  EXPECT_THAT(Ids(**eos, "ab", true), ElementsAre(7, 2));
  EXPECT_THAT(Ids(**eos, "ab</s>", true), ElementsAre(7, 2));
}

TEST(SentencePieceFolder, UserDefinedPiecesAreNeverMerged) {
  SpmFile file = Small();
  const auto t = Tokenizer::FromSentencePiece(file.Add("a", -1).text(), "", "m");
  EXPECT_THAT(ErrorText(t), HasSubstr("m: piece 8: 'a' stands twice"));
  SpmFile frozen;
  frozen.Add("<unk>", 0, kUnknown).Add("a", 0, kUserDefined).Add("b", -1).Add("ab", -1);
  frozen.normalizer += Integer(3, 0);  // no space in front
  EXPECT_THAT(Ids(**Tokenizer::FromSentencePiece(frozen.text(), "", "m"), "ab"), ElementsAre(1, 2));
}

TEST(SentencePieceFolder, RefusesByNameWhatItCannotDo) {
  const auto trained_as = [](int64_t type) {
    SpmFile file = Small();
    file.trainer = Integer(3, type);
    return file.text();
  };
  SpmFile bytes = Small(), fallback = Small(), suffix = Small(), map = Small(), type = Small();
  bytes.Add("<0x00>", 0, kByte);
  fallback.trainer += Integer(35, 1);
  suffix.trainer += Integer(24, 1);
  map.normalizer += Bytes(2, "abc");
  const std::pair<std::string, std::string> table[] = {
      {trained_as(3), "m: sentencepiece model type WORD is not supported"},
      {trained_as(4), "m: sentencepiece model type CHAR is not supported"},
      {trained_as(9), "m: sentencepiece model type 9 is not supported"},
      {Small().Add("c", 0, kUnused).text(), "m: piece 8: type UNUSED"},
      {type.Add("c", 0, 7).text(), "m: piece 8: type 7 is not known"},
      {Small().Add("c", 0, kUnknown).text(), "m: piece 8: a second unknown piece"},
      {Small().Add("c", NAN).text(), "m: piece 8: its score is no number"},
      {Small().Add("\xFF", 0).text(), "m: piece 8: it is not UTF-8"},
      {bytes.text(), "m: it has byte pieces, but byte_fallback is off"},
      {fallback.text(), "m: byte piece <0x00> is missing"},
      {suffix.text(), "m: treat_whitespace_as_suffix is not supported"},
      {map.text(), "m: precompiled_charsmap is broken"},
      {Small().text() + Bytes(5, Bytes(2, "x")), "m: a denormalizer is not supported"},
      {SpmFile().Add("a", 0).text(), "m: it has no unknown piece"},
      {"", "m: this is no sentencepiece model"},
      {"IQ== 0\nIg== 1\n", "m: this is a tiktoken file"},
      {"version https://git-lfs.github.com/spec/v1\n", "m: this is no sentencepiece model"},
  };
  for (const auto& [text, message] : table) {
    EXPECT_THAT(ErrorText(Tokenizer::FromSentencePiece(text, "", "m")), HasSubstr(message));
  }
}

// Whatever is cut off or changed: a tokenizer or an error.
TEST(SentencePieceFolder, BrokenFilesDoNotCrash) {
  SpmFile file = Small();
  std::string map = std::string("\0\4\0\0", 4) + std::string(1024, '\1') + std::string("x\0", 2);
  file.normalizer += Bytes(2, map);
  const std::string whole = file.text();
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
    for (const std::string& text : {whole.substr(0, i), changed}) {
      const auto t = Tokenizer::FromSentencePiece(text, "", "m");
      if (t.ok()) (void)(*t)->Encode(" ab \xC3\xA9 ba", true);
    }
  }
}

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
  const std::tuple<const char*, const char*, const char*> table[] = {
      {"/extra", "1", "k: key 'extra' is not known"},
      {"/config/lowercase", "true", "k: config: key 'lowercase' is not known"},
      {"/config/pattern", R"("a$")", "k: config.pattern: the anchor $"},
      {"/config/pattern", R"("\\w")", "k: config.pattern: regular expression uses \\w"},
      {"/config/version", R"("v13")", "k: special_tokens: needed in a file of version v13"},
      {"/config/default_vocab_size", "400", "k: vocab: fewer than 370 tokens"},
      {"/config/default_num_special_tokens", "5", "k: config.default_num_special_tokens: fewer"},
      {"/vocab/3/rank", "2", "k: vocab[3].rank: a rank that stands twice"},
      {"/vocab/3/token_bytes", R"("?")", "k: vocab[3].token_bytes: base64"},
      {"/vocab/3/token_bytes", R"("AA==")", "k: vocab: token"},
      {"/vocab/3/rank", "1000", "k: vocab: rank 3 is missing"},
  };
  for (const auto& [pointer, value, message] : table) {
    json spec = Tekken();
    spec[json::json_pointer(pointer)] = json::parse(value);
    EXPECT_THAT(ErrorText(Tokenizer::FromTekken(spec.dump(), "", "k")), HasSubstr(message));
  }
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
  EXPECT_THAT(Ids(*now, "<tool>ab"), ElementsAre(9, 6));
  EXPECT_EQ(now->TokenToId("<pad>"), std::nullopt);
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

TEST(TokenizerFolder, SaysWhereItsFilesDisagree) {
  const auto t = GoldenTokenizer("gpt2", R"({"add_bos_token": true, "add_eos_token": false})");
  EXPECT_THAT(t->Notes(),
              ElementsAre(HasSubstr("add_bos_token: true, but tokenizer.json adds none")));
}

}  // namespace
}  // namespace fttrain
