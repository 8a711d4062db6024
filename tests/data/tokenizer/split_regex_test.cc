#include "data/tokenizer/split_regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/text/unicode.h"

namespace fttrain {
namespace {

using testing::ElementsAre;

std::vector<std::string> Matches(const SplitRegex& regex, std::string_view text) {
  RegexScratch scratch;
  std::vector<TextRange> ranges;
  EXPECT_TRUE(regex.FindAll(text, &scratch, &ranges).ok());
  std::vector<std::string> out;
  for (const TextRange& r : ranges) out.emplace_back(text.substr(r.begin, r.end - r.begin));
  return out;
}

TEST(SplitRegex, SpaceIsOnigurumasAndNotPcre2s) {
  const auto space = SplitRegex::Compile("\\s+"), other = SplitRegex::Compile("\\S+"),
             in_class = SplitRegex::Compile("[^\\s]+");
  const std::string text =
      "a\xE1\xA0\x8E"
      "b\xC2\x85"
      "c";  // U+180E is no space, U+0085 is one
  EXPECT_THAT(Matches(**space, text), ElementsAre("\xC2\x85"));
  EXPECT_THAT(Matches(**other, text), ElementsAre("a\xE1\xA0\x8E"
                                                  "b",
                                                  "c"));
  EXPECT_THAT(Matches(**in_class, text), ElementsAre("a\xE1\xA0\x8E"
                                                     "b",
                                                     "c"));
}

TEST(SplitRegex, MatchesDoNotOverlapAndEmptyOnesGoOn) {
  EXPECT_THAT(Matches(**SplitRegex::Compile("x*"), "\xC3\xA9xx"), ElementsAre("", "xx", ""));
  EXPECT_THAT(Matches(*SplitRegex::Literal("aa"), "aaaaa"), ElementsAre("aa", "aa"));
}

TEST(SplitRegex, ReplacementsDoNotExhaustMemory) {
  RegexScratch scratch;
  const auto regex = SplitRegex::Literal("a");
  EXPECT_EQ(*regex->ReplaceAll("abab", "cc", &scratch), "ccbccb");
  const std::string content(1 << 20, 'c');
  EXPECT_TRUE(absl::IsResourceExhausted(
      regex->ReplaceAll(std::string(257, 'a'), content, &scratch).status()));
}

TEST(SplitRegex, ReplacementsAfterEachOtherDoNotExhaustMemory) {
  RegexScratch scratch;
  const auto regex = SplitRegex::Literal("a");
  const std::string content = "a" + std::string(1 << 20, 'c');
  const auto once = regex->ReplaceAll(std::string(200, 'a'), content, &scratch);
  ASSERT_TRUE(once.ok()) << once.status();
  EXPECT_TRUE(absl::IsResourceExhausted(regex->ReplaceAll(*once, content, &scratch).status()));
}

TEST(SplitRegex, ALongRunDoesNotExhaustTheStack) {
  const auto regex = SplitRegex::Compile("(?:a|b)+|\\s+(?!\\S)|\\s+");
  EXPECT_EQ(Matches(**regex, std::string(2 << 20, 'a')).size(), 1u);
  EXPECT_EQ(Matches(**regex, std::string(2 << 20, ' ') + "c").size(), 2u);
}

TEST(SplitRegex, SyntaxThatTheEnginesReadDifferentlyIsRefused) {
  for (const char* pattern :
       {"\\w+",    "\\bx",  "a\\h",      "\\Gx",     "[a&&b]",          "[[:alpha:]]",
        "[]a]",    "a{,3}", "\\d{1,3}+", "[\\P{L}]", "a(?i)b",          "(?<name>x)",
        "(*UCP)x", "\\1",   "[\\S]",     "\\x41",    "\\p{Alphabetic}", "a\\",
        "[a",      "(a",    "\\u12"}) {
    EXPECT_FALSE(SplitRegex::Compile(pattern).ok()) << pattern;
  }
}

TEST(SplitRegex, RefusalsShowThePatternInPrintableWords) {
  for (const char* pattern : {"\\p\x1b[2J", "(\n", "\\\x7f", "\\\u00e9", "(?\u00e9\u00e9"}) {
    const std::string message(SplitRegex::Compile(pattern).status().message());
    EXPECT_NE(message, "");
    EXPECT_EQ(message.find_first_of("\x1b\n\x7f"), std::string::npos) << message;
    EXPECT_EQ(FindInvalidUtf8(message), std::string::npos) << message;
  }
}

// As in Ruby: at every line's ends, and behind a newline that ends the text.
TEST(SplitRegex, AnchorsStandAtLinesEnds) {
  const std::string text = "a \nb  ";
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\s+$"), text), ElementsAre(" ", "  "));
  EXPECT_THAT(Matches(**SplitRegex::Compile("^."), text), ElementsAre("a", "b"));
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\n$"), "a\n"), ElementsAre("\n"));
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\A.|.\\z"), "ab\ncd"), ElementsAre("a", "d"));
}

// PCRE2's own tables end with Unicode 14.
TEST(SplitRegex, CategoriesAreThoseOfUnicode16) {
  const std::string letter = "\xF0\x93\x91\xA4", digit = "\xF0\x90\xB5\x80";  // U+13464, U+10D40
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\p{L}+"), letter + digit), ElementsAre(letter));
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\p{Lu}+"), letter), ElementsAre());
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\d+"), letter + digit), ElementsAre(digit));
  EXPECT_THAT(Matches(**SplitRegex::Compile("[^\\p{L}]+"), letter + digit), ElementsAre(digit));
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\P{N}+"), letter + digit), ElementsAre(letter));
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\p{^N}+"), letter + digit), ElementsAre(letter));
}

TEST(SplitRegex, ScriptsAreTakenWithoutTheirExtensions) {
  EXPECT_THAT(Matches(**SplitRegex::Compile("\\p{Han}+"), "a\xE4\xB8\xAD\xE3\x80\x82"),
              ElementsAre("\xE4\xB8\xAD"));
}

}  // namespace
}  // namespace fttrain
