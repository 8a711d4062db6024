#include "launch/report/data_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

ShownToken Token(int32_t id, const std::string& text, bool learnt = false, bool special = false) {
  return {{id}, text, learnt, special};
}

DataReport Report() {
  DataReport report;
  report.model_path = "models/m";
  report.chat_template = "of models/m";
  DatasetReport file;
  file.path = "train.jsonl";
  file.format = RowFormat::kShareGpt;
  file.why = "rows have 'conversations' of from and value";
  file.rows = 1203;
  file.skipped = 1;
  file.faults = {"train.jsonl:9: key 'conversations' is missing"};
  file.unused = {{"id", 1200}, {"source", 1100}};
  report.files = {file};
  report.rows.sequence_len = 256;
  report.step = {2, 4, 2};
  report.steps = 30;
  report.epochs = 10.0;
  DatasetStatistics& s = report.statistics;
  s.summary = {.examples = 1200,
               .tokens = 50000,
               .targets = 12500,
               .truncated = 4,
               .dropped = 2,
               .cut_tokens = 990,
               .dropped_tokens = 600,
               .longest = 900,
               .rows = 40};
  s.shortest = 12;
  s.median = 41;
  s.lengths = {{1, 16, 10}, {17, 32, 0}, {33, 64, 1192}};
  s.duplicates = {3, 5};
  s.rows_per_step = 16;
  s.steps_per_epoch = 3;
  s.next_epoch_rows = 8;
  report.last_step_rows = 16;
  ShownExample example;
  example.number = 1;
  example.source = "train.jsonl:1";
  example.tokens = 4;
  example.learnt = 2;
  example.cut_tokens = 3;
  example.shown = {Token(1, "<|user|>", false, true), Token(2, "Hi\u21B5\n"),
                   Token(3, "you & me", true), Token(4, "<|end|>", true, true)};
  report.examples = {example};
  return report;
}

TEST(DataText, MarksWhatIsLearnt) {
  const std::string text = DataText(Report(), {});
  EXPECT_THAT(text, HasSubstr("== example 1 of 1,202: train.jsonl:1, 4 tokens, 2 learnt\n"
                              "<|user|>Hi\u21B5\n[[you & me<|end|>]]\n"
                              "-- cut here: 3 tokens left out\n"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(DataText, ColoursLineByLine) {
  EXPECT_THAT(DataText(Report(), {LearntAs::kColor}),
              HasSubstr("\x1b[36m<|user|>\x1b[0mHi\u21B5\n\x1b[32myou & me\x1b[0m"
                        "\x1b[1;32m<|end|>\x1b[0m\n"));
  DataReport report = Report();
  report.examples[0].shown = {Token(1, "a\u21B5\nb", true)};
  EXPECT_THAT(DataText(report, {LearntAs::kColor}),
              HasSubstr("\x1b[32ma\u21B5\x1b[0m\n\x1b[32mb\x1b[0m\n"));
}

TEST(DataText, ListsATokenALineWithItsId) {
  EXPECT_THAT(DataText(Report(), {.ids = true}),
              HasSubstr("     0       1   <|user|>\n     1       2   Hi\u21B5\n"
                        "     2       3 * you & me\n     3       4 * <|end|>\n"));
}

TEST(DataText, SaysWhatARunNeedsToKnow) {
  const std::string text = DataText(Report(), {});
  for (const char* line :
       {"rows       train.jsonl: sharegpt (rows have 'conversations' of from and value), 1,203 "
        "rows, "
        "1 skipped\n             columns not used: id (1,200 rows), source (1,100)\n"
        "             skipped train.jsonl:9: key 'conversations' is missing\n",
        "tokens     50,000 in 1,200 examples; 12,500 learnt (25.0%)\n",
        "cut        4 examples to data.sequence_len 256: 990 tokens left out (1.9%)\n",
        "dropped    2 examples (600 tokens): nothing to learn in them once cut\n",
        "a step     16 rows = micro batch 2 x accumulation 4 x dp 2\n",
        "an epoch   40 rows (packed) = 3 steps of 16 rows; the last takes 8 and 8 of the next "
        "epoch\n",
        "the run    30 steps = 10 epochs\n",
        "lengths    12 to 900 tokens, half of the examples at most 41\n",
        "          1-16            10 #\n         17-32             0 \n"
        "         33-64         1,192 ########################################"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(DataWarnings, SayWhatTheFilesAreThatNoNumberOfTokensShows) {
  DatasetReport file;
  file.special_texts = 2;
  file.first_special_text =
      "train.jsonl:9: message 0 (user) has <|im_end|>, where the turn ends for the model";
  file.shifted_labels = 1;
  file.first_shifted = "train.jsonl:4";
  const std::vector<DataWarning> warnings = WarningsOf({}, {file}, {}, {}, false);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[0].kind, "shifted_labels");
  EXPECT_EQ(warnings[0].text,
            "1 row of ready-made tokens (the first: train.jsonl:4) whose labels are those of the "
            "next token: the shift is made here, so the token after it is learnt");
  EXPECT_EQ(warnings[1].kind, "special_texts");
  EXPECT_EQ(warnings[1].text,
            "2 rows with the text of a special token in a message (the first: train.jsonl:9: "
            "message 0 (user) has <|im_end|>, where the turn ends for the model): the tokenizer "
            "makes that token of it, as transformers does; take it out of the text, or write it "
            "otherwise");
}

TEST(DataText, SaysWhatTheEpochsLeaveForTheLastStep) {
  DataReport report = Report();
  report.last_step_rows = 8;
  EXPECT_THAT(DataText(report, {}),
              HasSubstr("the run    30 steps = 10 epochs; the last has the 8 rows left\n"));
}

TEST(DataText, OfARunOfOneEpochTheNextOneFillsNoStep) {
  DataReport report = Report();
  report.epochs = 1;
  EXPECT_THAT(DataText(report, {}),
              HasSubstr("an epoch   40 rows (packed) = 3 steps of 16 rows\nthe run"));
}

TEST(Warnings, NameTheFirstOfTheirExamples) {
  const std::vector<Example> examples = {{{1, 2}, {1, 2}, "a.jsonl:1"},
                                         {{1, 3}, {1, 3}, "a.jsonl:2"}};
  DatasetStatistics s;
  EXPECT_THAT(WarningsOf(s, {}, examples, {}, false), IsEmpty());
  s.open_ends = {1, 1};
  s.empty_answers = {1, 0};
  s.cut_targets = {2, 0};
  DatasetReport file;
  file.rows = 10;
  file.skipped = 2;
  file.dropped_reasoning = 4;
  const auto warnings = WarningsOf(s, {file}, examples, {"a note"}, true);
  std::vector<std::string> kinds;
  for (const DataWarning& warning : warnings) kinds.push_back(warning.kind);
  EXPECT_THAT(kinds,
              ::testing::ElementsAre("skipped_rows", "cut_answers", "open_ends", "empty_answers",
                                     "dropped_reasoning", "pad_is_eos", "note"));
  EXPECT_THAT(warnings[0].text, HasSubstr("2 of 10 rows skipped, for they cannot be used (20.0%)"));
  EXPECT_THAT(warnings[1].text, HasSubstr("2 examples (the first: a.jsonl:1): "));
  EXPECT_THAT(warnings[2].text, HasSubstr("1 example (a.jsonl:2): "));
}

TEST(DataJson, HasTheNumbersAndIsJsonWhateverTheTextsHold) {
  DataReport report = Report();
  report.warnings = {{"note", "not UTF-8: \xFF"}};
  const auto json = nlohmann::json::parse(DataJson(report));
  EXPECT_EQ(json["tokens"], 50000);
  EXPECT_EQ(json["learnt_tokens"], 12500);
  EXPECT_EQ(json["files"][0]["format"], "sharegpt");
  EXPECT_EQ(json["files"][0]["columns_not_used"]["id"], 1200);
  EXPECT_EQ(json["lengths"]["bins"][2]["examples"], 1192);
  EXPECT_EQ(json["steps_per_epoch"], 3);
  EXPECT_EQ(json["rows_of_next_epoch_in_last_step"], 8);
  EXPECT_EQ(json["warnings"][0]["kind"], "note");
}

// What a row says must not become markup, nor may the page ask for anything from elsewhere.
TEST(DataPage, IsOneFileInWhichTextIsText) {
  DataReport report = Report();
  report.model_path = "models/<m>";
  report.warnings = {{"note", "a \"note\" & <b>"}};
  report.examples[0].shown.push_back(Token(5, "<script>alert('1')</script>", true));
  const std::string page = DataPage(report);
  EXPECT_THAT(page,
              AllOf(HasSubstr("models/&lt;m&gt;"), HasSubstr("a &quot;note&quot; &amp; &lt;b&gt;"),
                    HasSubstr("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"),
                    HasSubstr("<span class=\"l s\" title=\"4\">&lt;|end|&gt;</span>"),
                    HasSubstr("prefers-color-scheme: dark")));
  for (const char* no : {"<script", "http:", "https:", "<link", "<img", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(no)));
  }
}

}  // namespace
}  // namespace fttrain
