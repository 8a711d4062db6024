#include "data/tokenizer/split_regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "data/text/unicode.h"
#include "data/tokenizer/ascii_words.h"

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

// The same pattern in a group is none that is known: the engine finds its matches.
TEST(SplitRegex, KnownPatternsMatchOnAsciiAsTheEngineDoes) {
  const std::string letters = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])",
                    small = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])", begin = R"([^\r\n\p{L}\p{N}]?)",
                    shorts = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", spaces = R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
                    signs = R"( ?[^\s\p{L}\p{N}]+)";
  const std::vector<std::string> patterns = {
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
      shorts + "|" + begin + R"(\p{L}+|\p{N}{1,3}|)" + signs + R"([\r\n]*|)" + spaces,
      shorts + "|" + begin + R"(\p{L}+|\p{N}|)" + signs + R"([\r\n]*|)" + spaces,
      begin + letters + "*" + small + "+" + shorts + "?|" + begin + letters + "+" + small + "*" +
          shorts + R"(?|\p{N}{1,3}|)" + signs + R"([\r\n/]*|)" + spaces,
      begin + letters + "*" + small + "+|" + begin + letters + "+" + small + R"(*|\p{N}|)" + signs +
          R"([\r\n/]*|)" + spaces,
      R"( ?\p{L}+|\s+(?!\S))"};
  const std::vector<std::string> parts = {"a",
                                          "b",
                                          "Z",
                                          "s",
                                          "S",
                                          "t",
                                          "re",
                                          "LL",
                                          "'",
                                          "'s",
                                          "'D",
                                          "'ve",
                                          "1",
                                          "22",
                                          "333",
                                          "4444",
                                          " ",
                                          "  ",
                                          "\n",
                                          "\r\n",
                                          "\t",
                                          "/",
                                          ".",
                                          "-",
                                          "!?",
                                          "\x1c",
                                          "\x7f",
                                          "\v",
                                          "\xC3\xA9",
                                          "\xC5\xBF",
                                          "\xE9\xAB\x98",
                                          "\xC2\x85",
                                          "\xE3\x80\x80",
                                          "\xCC\x81",
                                          "\xD9\xA1"};
  std::mt19937 random(7);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  for (const std::string& pattern : patterns) {
    ASSERT_TRUE(AsciiWords::Of(pattern).has_value()) << pattern;
    ASSERT_FALSE(AsciiWords::Of("(?:" + pattern + ")").has_value());
    const auto known = SplitRegex::Compile(pattern),
               engine = SplitRegex::Compile("(?:" + pattern + ")");
    ASSERT_TRUE(known.ok() && engine.ok()) << pattern;
    for (int i = 0; i < 4000; ++i) {
      std::string text;
      const size_t most = i % 2 == 0 ? parts.size() : 28;  // half of them of ASCII alone
      for (size_t n = 1 + below(12); n > 0; --n) text += parts[below(most)];
      ASSERT_EQ(Matches(**known, text), Matches(**engine, text)) << pattern << "\n" << text;
    }
  }
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
