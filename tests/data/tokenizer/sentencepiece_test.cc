// tokenizer.model: what a file asks for, what is refused. That ids equal sentencepiece's is shown
// by differential_test.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "tests/data/tokenizer/spm_file.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

TEST(SentencePieceFolder, SegmentsGiveTheIdsOfTheWhole) {
  for (const int remove_extra_spaces : {0, 1}) {
    SpmFile file = Small();
    file.normalizer = Integer(4, remove_extra_spaces);
    const auto t = Tokenizer::FromSentencePiece(file.text(), "", "m").value();
    int cuts = 0;
    for (const std::string text : {"ab  ab a", " ab<s>ab </s> b", "  ", "x ab  "}) {
      const std::vector<int32_t> want = Ids(*t, text, true);
      for (size_t cut = 0; cut <= text.size(); ++cut) {
        const auto got = t->EncodeSegments({text.substr(0, cut), text.substr(cut)}, true);
        ASSERT_TRUE(got.ok()) << got.status();
        cuts += got->shared.empty();
        EXPECT_EQ(got->ids, want) << text << cut;
        EXPECT_EQ(got->ends[1], static_cast<int64_t>(want.size()));
        EXPECT_LE(got->ends[0], got->ends[1]);
      }
    }
    EXPECT_GE(cuts, 20);
  }
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
  SpmFile normal = fallback;
  normal.Add("<0x00>", 0);
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
      {normal.text(), "m: byte piece <0x00> is missing"},
      {suffix.text(), "m: treat_whitespace_as_suffix is not supported"},
      {map.text(), "m: precompiled_charsmap is broken"},
      {Small().text() + Bytes(5, Bytes(2, "x")), "m: a denormalizer is not supported"},
      {SpmFile().Add("a", 0).text(), "m: it has no unknown piece"},
      {Small().Add(std::string(1025, 'c'), 0).text(), "m: piece 8: it is longer than 1024 bytes"},
      {"", "m: this is no sentencepiece model"},
      {"IQ== 0\nIg== 1\n", "m: this is a tiktoken file"},
      {"version https://git-lfs.github.com/spec/v1\n", "m: this is no sentencepiece model"},
  };
  for (const auto& [text, message] : table) {
    EXPECT_THAT(ErrorText(Tokenizer::FromSentencePiece(text, "", "m")), HasSubstr(message));
  }
}

TEST(SentencePieceFolder, ARuleMakesWholeCharacters) {
  const std::string results("b\0\xC3\xA9\0", 5);
  for (const int model : {1, 2}) {
    const auto t = Tokenizer::FromSentencePiece(WithRule(model, results, 0), "", "m");
    ASSERT_TRUE(t.ok()) << t.status();
    EXPECT_EQ(Ids(**t, "<s>a"), Ids(**t, "<s>b"));
    for (const uint32_t value : {3, 5}) {
      EXPECT_THAT(ErrorText(Tokenizer::FromSentencePiece(WithRule(model, results, value), "", "m")),
                  HasSubstr("m: precompiled_charsmap is broken"));
    }
  }
}

TEST(SentencePieceFolder, RulesDoNotExhaustMemory) {
  const std::string results = std::string(1 << 20, 'b') + std::string(1, '\0');
  const auto t = Tokenizer::FromSentencePiece(WithRule(1, results, 0), "", "m").value();
  const auto ids = t->Encode(std::string(257, 'a'), false);
  EXPECT_TRUE(absl::IsResourceExhausted(ids.status())) << ids.status();
}

// Whatever is cut off or changed: a tokenizer or an error.
TEST(SentencePieceFolder, BrokenFilesDoNotCrash) {
  SpmFile file = Small();
  std::string map = std::string("\0\4\0\0", 4) + std::string(1024, '\1') + std::string("x\0", 2);
  file.normalizer += Bytes(2, map);
  const std::string results("\xC3\xA9\0\xE2\x96\x81\0", 7);
  for (const std::string& whole : {file.text(), WithRule(1, results, 0), WithRule(2, results, 3)}) {
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
      for (const std::string& text : {whole.substr(0, i), changed}) {
        const auto t = Tokenizer::FromSentencePiece(text, "", "m");
        if (t.ok()) (void)(*t)->Encode(" ab \xC3\xA9 ba aab", true);
      }
    }
  }
}

}  // namespace
}  // namespace fttrain
