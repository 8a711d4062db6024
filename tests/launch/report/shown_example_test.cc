#include "launch/report/shown_example.h"

#include <gmock/gmock.h>

#include "data/chat/template.h"
#include "tests/data/golden.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(VisibleText, ShowsWhatDoesNotPrint) {
  EXPECT_EQ(VisibleText("a\nb\r\tc"), "a\u21B5\nb\u240D\u21E5c");
  EXPECT_EQ(VisibleText(std::string("\0\x1b[31m\x7f", 7)), "\u2400\u241B[31m\u2421");
  EXPECT_EQ(VisibleText("no\u00A0break\u200B\u202Eleft\uFEFF"),
            "no<U+00A0>break<U+200B><U+202E>left<U+FEFF>");
  EXPECT_EQ(VisibleText("\u00E9\u6F22\U0001F600 ok"), "\u00E9\u6F22\U0001F600 ok");
  EXPECT_EQ(VisibleText("\xFF!"), "\uFFFD!");
}

Example ExampleOf(const Tokenizer& tokenizer, const std::vector<ChatSegment>& segments) {
  std::vector<std::string> texts;
  for (const ChatSegment& segment : segments) texts.push_back(segment.text);
  const SegmentedIds encoded = *tokenizer.EncodeSegments(texts, false);
  Example example;
  example.source = "train.jsonl:7";
  example.input_ids = encoded.ids;
  size_t segment = 0;
  for (size_t i = 0; i < encoded.ids.size(); ++i) {
    while (static_cast<int64_t>(i) >= encoded.ends[segment]) ++segment;
    example.labels.push_back(segments[segment].target ? encoded.ids[i] : kNoTarget);
  }
  return example;
}

// The text as it is, the learnt parts in brackets.
std::string Marked(const ShownExample& example) {
  std::string out;
  bool learnt = false;
  for (const ShownToken& token : example.shown) {
    if (token.learnt != learnt) out += learnt ? "]" : "[";
    learnt = token.learnt;
    out += token.text;
  }
  return learnt ? out + "]" : out;
}

TEST(Show, GivesTheTextBackInWholeCharacters) {
  const std::string question =
      "How do you say \u72AC and \U0001F415, na\u00EFvely?\n\n  Two  spaces.";
  for (const char* name : {"smollm2", "llama2", "gemma", "metaspace", "llama3", "qwen2"}) {
    const auto tokenizer = GoldenTokenizer(name);
    const Example example =
        ExampleOf(*tokenizer, {{question, false}, {" inu \u72AC", true}, {" ok", false}});
    const ShownExample shown = Show(example, 6, 1000, tokenizer.get());
    EXPECT_EQ(Marked(shown),
              "How do you say \u72AC and \U0001F415, na\u00EFvely?\u21B5\n\u21B5\n"
              "  Two  spaces.[ inu \u72AC] ok")
        << name;
    EXPECT_EQ(shown.number, 7);
    EXPECT_EQ(shown.cut_tokens, 0);
    size_t ids = 0;
    for (const ShownToken& token : shown.shown) ids += token.ids.size();
    EXPECT_EQ(ids, example.input_ids.size());
  }
}

TEST(Show, AddedTokensAreSpecialAndTheFirstTokenIsNeverLearnt) {
  const auto tokenizer = GoldenTokenizer("smollm2");
  const Example example = ExampleOf(*tokenizer, {{"<|im_start|>user\nHi<|im_end|>", true}});
  const ShownExample shown = Show(example, 0, 1000, tokenizer.get());
  EXPECT_EQ(shown.shown.front().text, "<|im_start|>");
  EXPECT_TRUE(shown.shown.front().special);
  EXPECT_FALSE(shown.shown.front().learnt);
  EXPECT_TRUE(shown.shown.back().special);
  EXPECT_TRUE(shown.shown.back().learnt);
  EXPECT_FALSE(shown.shown[1].special);
  EXPECT_EQ(shown.learnt, shown.tokens - 1);
}

TEST(Show, WhatIsCutIsCountedAndNotShown) {
  const auto tokenizer = GoldenTokenizer("smollm2");
  const Example example = ExampleOf(*tokenizer, {{"<|im_end|><|im_end|><|im_end|>", true}});
  const ShownExample shown = Show(example, 0, 2, tokenizer.get());
  EXPECT_EQ(shown.tokens, 2);
  EXPECT_EQ(shown.learnt, 1);
  EXPECT_EQ(shown.cut_tokens, 1);
  EXPECT_EQ(shown.shown.size(), 2U);
}

TEST(Show, WithoutATokenizerThereAreIds) {
  const ShownExample shown = Show({{7, 8}, {kNoTarget, 8}, "a"}, 0, 10, nullptr);
  EXPECT_EQ(Marked(shown), "7 [8 ]");
  EXPECT_THAT(shown.shown[1].ids, ElementsAre(8));
}

}  // namespace
}  // namespace fttrain
