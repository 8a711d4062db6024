// Datasets from files to examples, with ChatML and a small tokenizer.
#include "data/formats/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/data/formats/rows.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using enum RowFormat;

using Datasets = RowsTest;

const char* const kTalk =
    R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}], "id": 1})";

std::string OneLine(std::string row) {
  std::replace(row.begin(), row.end(), '\n', ' ');
  return row;
}

TEST_F(Datasets, MessagesLearnTheAssistantTurns) {
  const Example e = One(
      R"({"id": 7, "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nadia."}]})",
      kMessages);
  EXPECT_EQ(Part(e, true), "Nadia.<|im_end|>");
  EXPECT_EQ(Part(e, false), "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n\n");
}

TEST_F(Datasets, AlpacaBecomesAConversation) {
  const Example e = One(
      R"({"instruction": "Add.", "input": "1 2", "output": "3", "system": "S", "history": [["a", "b"]]})",
      kAlpaca);
  EXPECT_EQ(Text(e),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>"
            "assistant\nb<|im_end|>\n"
            "<|im_start|>user\nAdd.\n1 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n");
  EXPECT_EQ(Part(e, true), "b<|im_end|>3<|im_end|>");
}

TEST_F(Datasets, LossIsOnAllAnswersOrTheLastOrEverything) {
  const std::string row = OneLine(kTalk);
  EXPECT_EQ(Part(One(row, kMessages), true), "b<|im_end|>d<|im_end|>");
  options_.train_on = TrainOn::kLast;
  EXPECT_EQ(Part(One(row, kMessages), true), "d<|im_end|>");
  options_.train_on = TrainOn::kPrompt;
  EXPECT_EQ(One(row, kMessages).labels, One(row, kMessages).input_ids);
}

TEST_F(Datasets, LossOnEverythingLeavesOutWhatTheRowExcludes) {
  options_.train_on = TrainOn::kPrompt;
  const Example e = One(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "assistant", "content": "c"}]})",
      kMessages);
  EXPECT_EQ(Part(e, false), "b<|im_end|>");
}

TEST_F(Datasets, EachTurnThatLearnsMayBeAnExampleOfItsOwn) {
  options_.turns = Turns::kEach;
  const std::vector<Example> each = Read(OneLine(kTalk), kMessages);
  ASSERT_EQ(each.size(), 2u);
  EXPECT_EQ(Text(each[0]), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
  EXPECT_EQ(Part(each[0], true), "b<|im_end|>");
  EXPECT_EQ(Part(each[1], true), "d<|im_end|>");
  EXPECT_EQ(each[1].source, folder_ / "row.jsonl:1");
  options_.train_on = TrainOn::kLast;
  EXPECT_EQ(Read(OneLine(kTalk), kMessages).size(), 1u);
  options_.train_on = TrainOn::kPrompt;
  EXPECT_THAT(ErrorText(Load("a.jsonl", OneLine(kTalk), kMessages)),
              HasSubstr("a.jsonl: an example for each turn, with its prompt learnt"));
}

TEST_F(Datasets, PromptCompletionLearnsTheCompletionAndItsEnd) {
  const std::string row = R"({"prompt": "1 + 1 =", "completion": " 2"})";
  EXPECT_EQ(Part(One(row, kPromptCompletion), true), " 2<|endoftext|>");
  EXPECT_EQ(Part(One(row, kPromptCompletion), false), "1 + 1 =");
  EXPECT_EQ(
      Part(One(R"({"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"})", kPreference), true),
      " 2<|endoftext|>");
  options_.train_on = TrainOn::kPrompt;
  EXPECT_EQ(Part(One(row, kPromptCompletion), true), "1 + 1 = 2<|endoftext|>");
}

// "heron" is one token: it begins in the prompt, and what it covers of the completion is not
// learnt.
TEST_F(Datasets, ATokenOverTheEndOfThePromptIsNotLearntAndCounted) {
  const std::string row = R"({"prompt": "the her", "completion": "on carried"})";
  const Example e = One(row, kPromptCompletion);
  EXPECT_EQ(Part(e, true), " carried<|endoftext|>");
  EXPECT_EQ(Part(e, false), "the heron");
  EXPECT_EQ(Load("a.jsonl", row + "\n" + row, kPromptCompletion)->report.straddling, 2);
  options_.train_on = TrainOn::kPrompt;
  EXPECT_EQ(Part(One(row, kPromptCompletion), true), "the heron carried<|endoftext|>");
  EXPECT_EQ(Load("a.jsonl", row, kPromptCompletion)->report.straddling, 0);
}

TEST_F(Datasets, PromptCompletionTakesMessages) {
  const Example e = One(
      R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})",
      kPromptCompletion);
  EXPECT_EQ(Part(e, true), "d<|im_end|>");
}

TEST_F(Datasets, TextEndsInOneEndOfText) {
  const Example plain = One(R"({"text": "the heron"})", kText);
  EXPECT_EQ(Text(plain), "the heron<|endoftext|>");
  EXPECT_EQ(plain.labels, plain.input_ids);
  EXPECT_EQ(One(R"({"text": "the heron<|endoftext|>"})", kText).input_ids, plain.input_ids);
}

TEST_F(Datasets, ALongTextIsReadInPiecesAndEveryTokenPredictedOnce) {
  const auto llama = GoldenTokenizer("llama3", R"({"eos_token": "<|eot_id|>"})");
  options_.tokenizer = llama.get();
  options_.vocab_size = 0;
  std::string text;
  for (int i = 0; i < 30; ++i) text += absl::StrCat(i, " ");
  const std::string row = "{\"text\": \"" + text + "\"}";
  const std::vector<int32_t> whole = One(row, kText).input_ids;
  for (const size_t most : {2u, 7u, 10u}) {
    options_.sequence_len = static_cast<int64_t>(most);
    const auto read = Load("long.jsonl", row, kText);
    ASSERT_TRUE(read.ok()) << read.status();
    std::vector<int32_t> joined = {whole[0]};
    for (const Example& piece : read->examples) {
      EXPECT_LE(piece.input_ids.size(), most);
      EXPECT_EQ(piece.labels, piece.input_ids);
      EXPECT_EQ(piece.input_ids[0], joined.back());
      joined.insert(joined.end(), piece.input_ids.begin() + 1, piece.input_ids.end());
    }
    EXPECT_EQ(joined, whole);
    EXPECT_EQ(whole[0], llama->TokenToId("<|begin_of_text|>"));
    EXPECT_EQ(whole.back(), llama->TokenToId("<|eot_id|>"));
    EXPECT_EQ(read->report.cut_texts, 1);
    EXPECT_EQ(read->report.pieces, static_cast<int64_t>(read->examples.size()));
    EXPECT_EQ(read->examples.size(), (whole.size() - 1 + most - 2) / (most - 1));
  }
  options_.sequence_len = static_cast<int64_t>(whole.size());
  EXPECT_EQ(One(row, kText).input_ids, whole);
}

TEST_F(Datasets, ThePostProcessorsTokensAreNoPartOfTheCompletionAndThereOnce) {
  const auto llama = GoldenTokenizer("llama3", R"({"eos_token": "<|eot_id|>"})");
  options_.tokenizer = llama.get();
  options_.vocab_size = 0;
  const Example e = One(R"({"prompt": "a", "completion": " b"})", kPromptCompletion);
  EXPECT_EQ(e.input_ids[0], llama->TokenToId("<|begin_of_text|>"));
  EXPECT_EQ(e.labels[0], kNoTarget);
  EXPECT_EQ(
      One(R"({"prompt": "<|begin_of_text|>a", "completion": " b<|eot_id|>"})", kPromptCompletion)
          .input_ids,
      e.input_ids);
}

TEST_F(Datasets, TokensAreUsedAsGiven) {
  const Example e = One(R"({"input_ids": [1, 2, 3], "labels": [-100, 2, 5]})", kTokens);
  EXPECT_THAT(e.input_ids, ElementsAre(1, 2, 3));
  EXPECT_THAT(e.labels, ElementsAre(-100, 2, 5));
  EXPECT_THAT(One(R"({"input_ids": [4, 5]})", kTokens).labels, ElementsAre(4, 5));
}

TEST_F(Datasets, PaddingIsTakenOffBothEnds) {
  const Example right = One(
      R"({"input_ids": [5, 6, 7, 9999, 9999], "labels": [-100, 6, 7, 9999, -100], "attention_mask": [1, 1, 1, 0, 0], "length": 3})",
      kTokens);
  EXPECT_THAT(right.input_ids, ElementsAre(5, 6, 7));
  EXPECT_THAT(right.labels, ElementsAre(-100, 6, 7));
  const Example left = One(
      R"({"input_ids": [0, 0, 5, 6], "attention_mask": [false, false, true, true], "position_ids": [1, 1, 0, 1], "length": [4], "token_type_ids": [0, 0, 0, 0]})",
      kTokens);
  EXPECT_THAT(left.input_ids, ElementsAre(5, 6));
  EXPECT_THAT(left.labels, ElementsAre(5, 6));
  EXPECT_EQ(
      One(R"({"input_ids": [0, 5, 6], "attention_mask": [0, 1, 1], "position_ids": [0, 1, 2]})",
          kTokens)
          .input_ids.size(),
      2u);
}

TEST_F(Datasets, ATokenBeyondTheEmbeddingIsRefusedByTokenAndId) {
  options_.vocab_size = *tokenizer_->TokenToId("the");
  EXPECT_THAT(ErrorText(Load("row.jsonl", R"({"text": "<|im_end|>the"})", kText)),
              HasSubstr("row.jsonl:1: token 'the' has id "));
}

TEST_F(Datasets, TheFormatIsFoundByTheFirstRowThatHasSomething) {
  const std::string pc = R"({"prompt": "a", "completion": " b"})";
  const std::tuple<std::string, RowFormat, std::string> table[] = {
      {OneLine(kTalk), kMessages, "rows have 'messages'"},
      {R"({"conversations": [{"role": "user", "content": "a"}]})", kMessages,
       "rows have 'conversations'"},
      {R"({"conversations": [{"from": "human", "value": "a"}], "messages": null})", kShareGpt,
       "rows have 'conversations' of from and value"},
      {pc, kPromptCompletion, "rows have 'prompt' and 'completion'"},
      {R"({"prompt": "a", "chosen": "b", "rejected": "c"})", kPreference,
       "rows have 'chosen' and 'rejected'"},
      {R"({"instruction": "a", "output": "b", "input": ""})", kAlpaca,
       "rows have 'instruction' and 'output'"},
      {R"({"text": "a", "label": 3})", kText, "rows have 'text'"},
      {R"({"input_ids": [1]})", kTokens, "rows have 'input_ids'"},
      {R"({"prompt": "", "completion": "b"})", kPromptCompletion,
       "rows have 'prompt' and 'completion'"},
      {"{}\nno JSON\n{\"text\": \"\", \"id\": 3}\n" + pc, kPromptCompletion,
       "rows have 'prompt' and 'completion'"},
  };
  for (const auto& [text, format, why] : table) {
    const auto found = FindFormat({folder_.Write("a.jsonl", text)}, {});
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->format, format) << text;
    EXPECT_EQ(found->why, why);
  }
  const auto read = Load("a.jsonl", pc, kAuto);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->report.format, kPromptCompletion);
  EXPECT_EQ(read->report.why, "rows have 'prompt' and 'completion'");
  EXPECT_TRUE(Load("a.jsonl", pc, kPromptCompletion)->report.why.empty());
}

TEST_F(Datasets, AnEmptyPromptLeavesTheWholeCompletionToBeLearnt) {
  const Example e = One(R"({"prompt": "", "completion": "All of it."})", kAuto);
  EXPECT_EQ(Part(e, true), "All of it.<|endoftext|>");
  EXPECT_EQ(Part(e, false), "");
}

TEST_F(Datasets, SpecialTokensThatAMessageSpellsAreNoted) {
  const auto talk = [](const std::string& user, const std::string& assistant) {
    return absl::StrCat(R"({"messages": [{"role": "user", "content": ")", user,
                        R"("}, {"role": "assistant", "content": ")", assistant, "\"}]}\n");
  };
  const auto report = [&](const std::string& rows) {
    const auto read = Load("a.jsonl", rows, kMessages);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? read->report : DatasetReport();
  };
  const DatasetReport none = report(talk("a", "b") + talk("<|im_end", "im_end|>"));
  EXPECT_EQ(none.special_texts, 0);
  EXPECT_EQ(none.first_special_text, "");
  const DatasetReport ends = report(
      talk("a", "b") + talk("<|im_start|>a<|im_end|>", "b<|im_end|>") + talk("a", "<|im_end|>"));
  EXPECT_EQ(ends.special_texts, 2);
  EXPECT_EQ(ends.first_special_text, folder_ /
                                         "a.jsonl:2: message 0 (user) has <|im_end|>, where "
                                         "the turn ends for the model");
  const DatasetReport other = report(talk("a", "What is <|im_start|>?"));
  EXPECT_EQ(other.first_special_text,
            folder_ / "a.jsonl:1: message 1 (assistant) has <|im_start|>");
  // Turns that are an example each tell it once. Texts that are no conversation are as they shall
  // be.
  options_.turns = Turns::kEach;
  EXPECT_EQ(report(talk("<|im_end|>", "b")).special_texts, 1);
  EXPECT_EQ(Load("a.jsonl", R"({"text": "<|im_start|>a<|im_end|>"})", kText)->report.special_texts,
            0);
}

TEST_F(Datasets, LabelsThatAreShiftedAlreadyAreRefused) {
  const auto row = [](const std::vector<int>& ids, const std::vector<int>& labels) {
    return absl::StrCat(R"({"input_ids": [)", absl::StrJoin(ids, ","), R"(], "labels": [)",
                        absl::StrJoin(labels, ","), "]}\n");
  };
  const std::vector<int> ids = {11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  const std::string shifted = row(ids, {12, 13, 14, 15, 16, 17, 18, 19, 20, -100});
  const std::string aligned = row(ids, ids);
  EXPECT_EQ(ErrorText(Load("a.jsonl", shifted + shifted, kTokens)),
            absl::StrCat(folder_ / "a.jsonl",
                         ": in all of its rows that tell (2; the first: ", folder_ / "a.jsonl:1",
                         ") 'labels' are shifted already, labels[i] is input_ids[i + 1]; the shift "
                         "is made here: write labels[i] = input_ids[i] where token i is to be "
                         "learnt, -100 elsewhere"));
  // A prompt that is masked, a last label that is something else, a wrong one in ten.
  EXPECT_THAT(
      ErrorText(Load("a.jsonl", row(ids, {-100, 13, 14, 15, 16, 17, 18, 19, 20, 2}), kTokens)),
      HasSubstr("are shifted already"));
  options_.on_bad_row = OnBadRow::kSkip;
  EXPECT_THAT(ErrorText(Load("a.jsonl", shifted + row({1, 2}, {1, 2}), kTokens)),
              HasSubstr("are shifted already"));
  const auto mixed = Load("a.jsonl", aligned + shifted, kTokens);
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  EXPECT_EQ(mixed->report.shifted_labels, 1);
  EXPECT_EQ(mixed->report.first_shifted, folder_ / "a.jsonl:2");
  // Too few to tell, one token again and again, labels that are something else altogether.
  for (const std::string& other :
       {row({11, 12, 13}, {12, 13, -100}), row(std::vector<int>(20, 7), std::vector<int>(20, 7)),
        row(ids, std::vector<int>(10, 5)), aligned}) {
    const auto read = Load("a.jsonl", other, kTokens);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->report.shifted_labels, 0) << other;
  }
}

TEST_F(Datasets, AFormatThatCannotBeToldIsRefused) {
  EXPECT_EQ(ErrorText(Load("a.jsonl", R"({"text": "a", "input_ids": [1]})", kAuto)),
            folder_ /
                "a.jsonl:1: the row may be text (rows have 'text') or tokens (rows have "
                "'input_ids'): set format");
  EXPECT_EQ(ErrorText(Load("a.jsonl", R"({"id": 1, "body": "a"})", kAuto)),
            folder_ /
                "a.jsonl:1: no format is known by the keys of this row, 'id', 'body': set "
                "format, and fields for keys of other names");
  EXPECT_EQ(ErrorText(Load("a.jsonl", "nonsense\n{}", kAuto)).substr(0, folder_.path().size() + 29),
            folder_ / "a.jsonl:1: not valid JSON at");
  EXPECT_THAT(ErrorText(Load("a.jsonl", "", kAuto)), HasSubstr("a.jsonl: there are no rows"));
  EXPECT_EQ(ErrorText(Load("a.json", R"([[{"role": "user"}]])", kAuto)),
            folder_ / "a.json[0]: a row is a JSON object, not array");
  EXPECT_EQ(ErrorText(Load("a.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n{}", kAuto)),
            folder_ /
                "a.jsonl: of 2 rows none has something under all the keys that tell a format: "
                "set format");
  EXPECT_EQ(ErrorText(Load("a.jsonl", "{\"text\": \"a\"}\n{\"body\": \"b\"}", kAuto)),
            folder_ /
                "a.jsonl:2: key 'text' is missing; there is 'body': fields says what is "
                "called otherwise");
}

TEST_F(Datasets, FieldsNameKeysThatTheFormatHas) {
  const auto read = Load("a.jsonl", R"({"question": "a", "answer": " b"})", kAuto,
                         {{"prompt", "question"}, {"completion", "answer"}});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->report.why, "rows have 'question' and 'answer'");
  EXPECT_EQ(ErrorText(Load("a.jsonl", "{}", kText, {{"body", "x"}})),
            folder_ / "a.jsonl: fields: 'body' is no key of format text: its are text");
  EXPECT_EQ(ErrorText(Load("a.jsonl", "{}", kAlpaca, {{"input", "x"}, {"output", "x"}})),
            folder_ / "a.jsonl: fields: 'input' and 'output' are both 'x'");
  EXPECT_THAT(ErrorText(Load("a.jsonl", "{}", kMessages, {{"from", "x"}})),
              HasSubstr("'from' is no key of format messages: its are messages, conversations, "
                        "system, tools, documents; of messages role, content, tool_calls"));
}

TEST_F(Datasets, TheReportCountsRowsAndUnusedKeys) {
  const auto read = Load("a.jsonl",
                         R"({"text": "a", "id": 1, "tags": []})"
                         "\n"
                         R"({"text": "b", "id": 2, "tags": ["x"], "label": 0})",
                         kText);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->report.path, folder_ / "a.jsonl");
  EXPECT_EQ(read->report.rows, 2);
  EXPECT_EQ(read->report.skipped, 0);
  EXPECT_THAT(read->report.unused, ElementsAre(Pair("id", 2), Pair("label", 1), Pair("tags", 1)));
}

// By the square of their number 100,000 keys take minutes.
TEST_F(Datasets, AnObjectOfManyKeysIsReadAsFastAsAList) {
  std::string row = R"({"text": "a", "meta": {)";
  for (int i = 0; i < 100000; ++i) absl::StrAppend(&row, i == 0 ? "" : ", ", "\"k", i, "\": 0");
  const auto begin = std::chrono::steady_clock::now();
  const auto read = Load("a.jsonl", row + "}}", kText);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->report.unused, ElementsAre(Pair("meta", 1)));
}

// Good rows with bad ones between, one of them no JSON.
std::string WithBadRows(int good, int bad) {
  std::string rows;
  for (int i = 0; i < std::max(good, bad); ++i) {
    if (i < good) absl::StrAppend(&rows, R"({"text": "row )", i, "\"}\n");
    if (i < bad) rows += i == 1 ? "{\n" : "{\"txt\": 1}\n";
  }
  return rows;
}

TEST_F(Datasets, BadRowsAreToldTogether) {
  for (const int threads : {1, 2, 5}) {
    options_.threads = threads;
    const std::string few = ErrorText(Load("few.jsonl", WithBadRows(2000, 3), kText));
    const std::vector<std::string> lines = absl::StrSplit(few, '\n');
    ASSERT_EQ(lines.size(), 3u) << few;
    EXPECT_THAT(lines[0], HasSubstr("few.jsonl:2: key 'text' is missing"));
    EXPECT_THAT(lines[1], HasSubstr("few.jsonl:4: not valid JSON"));
    EXPECT_THAT(lines[2], HasSubstr("few.jsonl:6: key 'text' is missing"));
    const std::string many = ErrorText(Load("many.jsonl", WithBadRows(2000, 1500), kText));
    const std::vector<std::string> more = absl::StrSplit(many, '\n');
    ASSERT_EQ(more.size(), static_cast<size_t>(kMaxFaults) + 1) << many;
    EXPECT_EQ(more.back(), folder_ /
                               "many.jsonl: ... and 1480 more bad rows (1500 of 3500 rows "
                               "are bad)");
  }
}

TEST_F(Datasets, BadRowsMayBeSkippedAndAreCounted) {
  options_.on_bad_row = OnBadRow::kSkip;
  const auto read = Load("a.jsonl", WithBadRows(50, 30), kText);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->examples.size(), 50u);
  EXPECT_EQ(read->examples[1].source, folder_ / "a.jsonl:3");
  EXPECT_EQ(read->report.rows, 80);
  EXPECT_EQ(read->report.skipped, 30);
  ASSERT_EQ(read->report.faults.size(), static_cast<size_t>(kMaxFaults));
  EXPECT_THAT(read->report.faults[1], HasSubstr("a.jsonl:4: not valid JSON"));
  EXPECT_THAT(ErrorText(Load("b.jsonl", WithBadRows(0, 2), kText)),
              HasSubstr("b.jsonl:1: key 'text' is missing"));
  // What ends the file before its time is no row.
  EXPECT_THAT(ErrorText(Load("c.json", "[{\"text\": \"a\"}, {\"text\"", kText)),
              HasSubstr("c.json[1]: not valid JSON, line 1: the file ends here"));
  EXPECT_THAT(ErrorText(Load("d.gz", Gzip(WithBadRows(50, 0)).substr(0, 90), kText)),
              HasSubstr("d.gz: the gzip data is cut off"));
}

TEST_F(Datasets, WhatEndsTheReadingIsToldLast) {
  EXPECT_EQ(ErrorText(Load("a.json", "[{\"text\": \"a\"}, {}, {\"text\"", kText)),
            folder_ / "a.json[1]: key 'text' is missing\n" +
                (folder_ / "a.json[2]: not valid JSON, line 1: the file ends here, before the "
                           "array's ']'"));
}

// Threads change neither the examples' order nor what is told.
TEST_F(Datasets, RowsAreReadByThreadsInOrder) {
  const std::string rows = WithBadRows(3000, 0);
  const auto want = Load("rows.jsonl", rows, kText)->examples;
  options_.threads = 4;
  const auto got = Load("rows.jsonl", rows, kText)->examples;
  ASSERT_EQ(got.size(), 3000u);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].input_ids, want[i].input_ids);
    EXPECT_EQ(got[i].source, want[i].source);
  }
}

}  // namespace
}  // namespace fttrain
