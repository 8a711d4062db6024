#include "data/formats/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/data/golden.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Dataset : public testing::Test {
 protected:
  Dataset()
      : tokenizer_(GoldenTokenizer("smollm2", R"({"eos_token": "<|endoftext|>"})")),
        chat_(*ChatTemplate::Create(ChatForm::kChatml, "", *tokenizer_)) {
    options_ = {
        .tokenizer = tokenizer_.get(), .chat = &chat_, .vocab_size = tokenizer_->MaxId() + 1};
  }

  absl::StatusOr<std::vector<Example>> Load(const std::string& name, const std::string& text,
                                            RowFormat format) const {
    return LoadExamples({folder_.Write(name, text), format}, options_);
  }
  Example MustParse(const std::string& row, RowFormat format) const {
    auto examples = Load("row.json", "[" + row + "]", format);
    EXPECT_TRUE(examples.ok()) << examples.status();
    return examples->at(0);
  }
  // The text of the tokens that have (have no) label.
  std::string Part(const Example& example, bool target) const {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < example.labels.size(); ++i) {
      if ((example.labels[i] != kNoTarget) == target) ids.push_back(example.input_ids[i]);
      if (example.labels[i] != kNoTarget) {
        EXPECT_EQ(example.labels[i], example.input_ids[i]);
      }
    }
    return tokenizer_->Decode(ids, false);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  ChatTemplate chat_;
  DatasetOptions options_;
  const TempFolder folder_;
};

TEST_F(Dataset, MessagesLearnTheAssistantTurns) {
  const Example e = MustParse(
      R"({"id": 7, "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Nadia."}]})",
      RowFormat::kMessages);
  EXPECT_EQ(Part(e, true), "Nadia.<|im_end|>");
  EXPECT_EQ(Part(e, false), "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n\n");
}

TEST_F(Dataset, AlpacaBecomesAConversation) {
  const Example e = MustParse(
      R"({"instruction": "Add.", "input": "1 2", "output": "3", "system": "S", "history": [["a", "b"]]})",
      RowFormat::kAlpaca);
  EXPECT_EQ(tokenizer_->Decode(e.input_ids, false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>"
            "assistant\nb<|im_end|>\n"
            "<|im_start|>user\nAdd.\n1 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n");
  EXPECT_EQ(Part(e, true), "b<|im_end|>3<|im_end|>");
}

TEST_F(Dataset, PromptCompletionLearnsTheCompletionAndItsEnd) {
  const Example e =
      MustParse(R"({"prompt": "1 + 1 =", "completion": " 2"})", RowFormat::kPromptCompletion);
  EXPECT_EQ(Part(e, true), " 2<|endoftext|>");
  EXPECT_EQ(Part(e, false), "1 + 1 =");
}

// "heron" is one token: it begins in the prompt, and what it covers of the completion is not
// learnt.
TEST_F(Dataset, ATokenOverTheEndOfThePromptIsNotLearnt) {
  const Example e = MustParse(R"({"prompt": "the her", "completion": "on carried"})",
                              RowFormat::kPromptCompletion);
  EXPECT_EQ(Part(e, true), " carried<|endoftext|>");
  EXPECT_EQ(Part(e, false), "the heron");
}

TEST_F(Dataset, ATokenWithoutARowInTheEmbeddingIsNamed) {
  options_.vocab_size = *tokenizer_->TokenToId("<|im_end|>");
  const auto e = Parse(R"({"text": "the<|im_end|>"})", RowFormat::kText);
  EXPECT_THAT(ErrorText(e), HasSubstr("token '<|im_end|>' has id "));
}

TEST_F(Dataset, PromptCompletionTakesMessages) {
  const Example e = MustParse(
      R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
          "completion": [{"role": "assistant", "content": "d"}]})",
      RowFormat::kPromptCompletion);
  EXPECT_EQ(Part(e, true), "d<|im_end|>");
}

TEST_F(Dataset, TextEndsInOneEndOfText) {
  const Example plain = MustParse(R"({"text": "the heron"})", RowFormat::kText);
  EXPECT_EQ(tokenizer_->Decode(plain.input_ids, false), "the heron<|endoftext|>");
  EXPECT_EQ(plain.labels, plain.input_ids);
  EXPECT_EQ(MustParse(R"({"text": "the heron<|endoftext|>"})", RowFormat::kText).input_ids,
            plain.input_ids);
}

TEST_F(Dataset, ThePostProcessorsTokensAreNoPartOfTheCompletion) {
  const auto llama = GoldenTokenizer("llama3", R"({"eos_token": "<|eot_id|>"})");
  options_.tokenizer = llama.get();
  const Example e =
      MustParse(R"({"prompt": "a", "completion": " b"})", RowFormat::kPromptCompletion);
  EXPECT_EQ(e.input_ids[0], llama->TokenToId("<|begin_of_text|>"));
  EXPECT_EQ(e.labels[0], kNoTarget);
}

TEST_F(Dataset, TokensAreUsedAsGiven) {
  const Example e =
      MustParse(R"({"input_ids": [1, 2, 3], "labels": [-100, 2, 5]})", RowFormat::kTokens);
  EXPECT_THAT(e.input_ids, ElementsAre(1, 2, 3));
  EXPECT_THAT(e.labels, ElementsAre(-100, 2, 5));
  EXPECT_THAT(MustParse(R"({"input_ids": [4, 5]})", RowFormat::kTokens).labels, ElementsAre(4, 5));
}

TEST_F(Dataset, ReadsLinesWithBomCrlfBlankLinesAndNoFinalNewline) {
  const std::string path =
      folder_.Write("a.jsonl", "\xEF\xBB\xBF{\"text\": \"one\"}\r\n\r\n  \n{\"text\": \"two\"}");
  const auto examples = LoadExamples({path, RowFormat::kText}, options_).value();
  ASSERT_EQ(examples.size(), 2u);
  EXPECT_EQ(examples[0].source, path + ":1");
  EXPECT_EQ(examples[1].source, path + ":4");
}

TEST_F(Dataset, ReadsAnArray) {
  const std::string path =
      folder_.Write("a.json", "[{\"text\": \"one\"},\n {\"text\": \"two\"}]\n");
  const auto examples = LoadExamples({path, RowFormat::kText}, options_).value();
  EXPECT_EQ(examples[1].source, path + "[1]");
}

TEST_F(Dataset, ABadRowIsNamedByItsLine) {
  const std::string path =
      folder_.Write("train.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}\n{\"txt\": 1}\n");
  const auto examples = LoadExamples({path, RowFormat::kText}, options_);
  EXPECT_EQ(examples.status().message(), path + ":3: key 'text' is missing");
}

TEST_F(Dataset, OnlyARegularFileIsRead) {
  const std::string pipe = folder_.Write("pipe.jsonl", "");
  std::filesystem::remove(pipe);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const auto examples =
      LoadExamples({pipe, RowFormat::kText}, options_);  // reading it would never return
  EXPECT_EQ(examples.status().message(), pipe + ": not a regular file");
  EXPECT_EQ(LoadExamples({pipe + "-missing.jsonl", RowFormat::kText}, options_).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(Dataset, LinesBeyondTheLimitAreRefusedByNumber) {
  options_.max_row_bytes = 64;
  const std::string path = folder_.Write(
      "a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"" + std::string(5000000, 'a') + "\"}\n");
  const auto examples = LoadExamples({path, RowFormat::kText}, options_);
  EXPECT_THAT(ErrorText(examples), HasSubstr("a.jsonl:2: the line is longer than 64 bytes"));
}

TEST_F(Dataset, FilesWithNothingToLearnAreRefused) {
  for (const auto& [name, text, format, message] :
       std::vector<std::tuple<std::string, std::string, RowFormat, std::string>>{
           {"empty.jsonl", "", RowFormat::kText, "there are no rows"},
           {"blank.jsonl", "\n\n", RowFormat::kText, "there are no rows"},
           {"empty.json", "", RowFormat::kText, "not valid JSON"},
           {"none.json", "[]", RowFormat::kText, "there are no rows"},
           {"object.json", "{}", RowFormat::kText, "one object a line is .jsonl"},
           {"lines.json", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n", RowFormat::kText,
            "not valid JSON at byte"},
           {"row.json", "[{\"text\": \"a\"}, 3]", RowFormat::kText,
            "row.json[1]: a row is a JSON object, not number"},
           {"masked.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, -100]}\n", RowFormat::kTokens,
            "every label is masked"},
           {"utf16.jsonl", std::string("\xFF\xFE{\0}\0", 6), RowFormat::kText,
            "utf16.jsonl:1: not UTF-8 at byte 0"},
           {"rows.csv", "a,b\n", RowFormat::kText, "must end in .jsonl or .json"}}) {
    const auto examples = LoadExamples({folder_.Write(name, text), format}, options_);
    EXPECT_THAT(ErrorText(examples), HasSubstr(message)) << name;
  }
  EXPECT_TRUE(absl::IsNotFound(
      LoadExamples({folder_ / "absent.jsonl", RowFormat::kText}, options_).status()));
  std::filesystem::create_directory(folder_ / "folder.jsonl");
  EXPECT_FALSE(LoadExamples({folder_ / "folder.jsonl", RowFormat::kText}, options_).ok());
}

struct BadRow {
  RowFormat format;
  std::string row;
  const char* message;
};

TEST_F(Dataset, EveryBadRowIsOneErrorWithKeyAndReason) {
  const std::string deep = R"({"text": )" + std::string(5000, '[') + std::string(5000, ']') + "}";
  using enum RowFormat;
  const BadRow table[] = {
      // Not a row at all.
      {kText, "{", "not valid JSON at byte"},
      {kText, "nonsense", "not valid JSON at byte"},
      {kText, R"({"text": "a"}{"text": "b"})", "not valid JSON at byte 14"},
      {kText, R"({"text": "a",})", "not valid JSON at byte"},
      {kText, "{'text': 'a'}", "not valid JSON at byte"},
      {kText, R"({"text": "a)", "not valid JSON at byte"},
      {kText, "{\"text\": \"\xC3\x28\"}", "not UTF-8 at byte 10"},
      {kText, "{\"text\": \"\xED\xA0\x80\"}", "not UTF-8 at byte 10"},
      {kText, "{\"text\": \"\\ud800\"}", "not valid JSON at byte"},
      {kText, "{\"text\": \"\\ud800\\u0041\"}", "not valid JSON at byte"},
      {kText, std::string("{\"text\": \"a\0b\"}", 15), "not valid JSON at byte"},
      {kText, R"({"text": NaN})", "not valid JSON at byte"},
      {kText, R"({"text": 1e999})", "not valid JSON"},
      {kText, "{\"text\": \"\t\"}", "not valid JSON at byte"},
      {kText, deep, "nested deeper than 64"},
      {kText, "[]", "a row is a JSON object, not array"},
      {kText, "null", "a row is a JSON object, not null"},
      {kText, "3.5", "a row is a JSON object, not a number with a fraction"},
      // text
      {kText, "{}", "key 'text' is missing"},
      {kText, R"({"text": null})", "'text' must be a string, not null"},
      {kText, R"({"text": 5})", "'text' must be a string, not number"},
      {kText, R"({"text": ["a"]})", "'text' must be a string, not array"},
      {kText, R"({"text": ""})", "'text' is empty"},
      // prompt_completion
      {kPromptCompletion, R"({"completion": "b"})", "key 'prompt' is missing"},
      {kPromptCompletion, R"({"prompt": "a"})", "key 'completion' is missing"},
      {kPromptCompletion, R"({"prompt": "a", "completion": ""})", "'completion' is empty"},
      {kPromptCompletion, R"({"prompt": 1, "completion": "b"})", "'prompt' must be a string"},
      {kPromptCompletion, R"({"prompt": "a", "completion": []})",
       "must both be strings or both be lists"},
      {kPromptCompletion, R"({"prompt": [], "completion": []})", "'prompt' is empty"},
      {kPromptCompletion,
       R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "user", "content": "b"}]})",
       "no assistant turn"},
      // messages
      {kMessages, "{}", "key 'messages' is missing"},
      {kMessages, R"({"messages": "hi"})", "'messages' must be a list of messages, not string"},
      {kMessages, R"({"messages": []})", "'messages' is empty"},
      {kMessages, R"({"messages": ["hi"]})",
       "'messages'[0]: a message is a JSON object, not string"},
      {kMessages, R"({"messages": [{"content": "a"}]})", "'messages'[0]: key 'role' is missing"},
      {kMessages, R"({"messages": [{"role": "user"}]})", "'messages'[0]: key 'content' is missing"},
      {kMessages, R"({"messages": [{"role": 1, "content": "a"}]})", "'role' must be a string"},
      {kMessages, R"({"messages": [{"role": "user", "content": null}]})",
       "'content' must be a string, not null"},
      {kMessages, R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]})",
       "not array"},
      {kMessages,
       R"({"messages": [{"role": "human", "content": "a"}, {"role": "assistant", "content": "b"}]})",
       "'messages'[0]: role 'human' is none of system, developer, user, assistant, tool"},
      {kMessages, R"({"messages": [{"role": "user", "content": "a"}]})",
       "no assistant turn to learn from"},
      {kMessages,
       R"({"messages": [{"role": "assistant", "content": "a"}, {"role": "system", "content": "b"}]})",
       "message 1: the system message must come first"},
      {kMessages, R"({"messages": [{"role": "assistant", "content": "a", "tool_calls": [{}]}]})",
       "'tool_calls' is not supported"},
      {kMessages,
       R"({"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]})",
       "'messages'[0]: 'reasoning_content' is not supported in a message: take it out, or write"},
      {kMessages, R"({"messages": [{"role": "assistant", "content": "a", "thinking": "b"}]})",
       "'thinking' is not supported"},
      {kMessages, R"({"messages": [{"role": "assistant", "content": "a", "weight": 0}]})",
       "'weight' is not supported"},
      {kMessages, R"({"messages": [{"role": "Assistant", "content": "a"}]})",
       "role 'Assistant' is none of system"},
      {kPromptCompletion,
       R"({"prompt": [{"role": "user", "content": "a", "name": "x"}], "completion": [{"role": "assistant", "content": "b"}]})",
       "'prompt'[0]: 'name' is not supported"},
      {kMessages, R"({"messages": [{"role": "assistant", "content": "a"}], "tools": [{}]})",
       "'tools' is not supported"},
      // alpaca
      {kAlpaca, R"({"output": "a"})", "key 'instruction' is missing"},
      {kAlpaca, R"({"instruction": "a"})", "key 'output' is missing"},
      {kAlpaca, R"({"instruction": "", "input": "", "output": "b"})",
       "'instruction' and 'input' are empty"},
      {kAlpaca, R"({"instruction": "a", "output": ""})", "'output' is empty"},
      {kAlpaca, R"({"instruction": "a", "input": 5, "output": "b"})", "'input' must be a string"},
      {kAlpaca, R"({"instruction": "a", "output": "b", "history": "x"})",
       "'history' must be a list"},
      {kAlpaca, R"({"instruction": "a", "output": "b", "history": [["x"]]})",
       "'history'[0] must be [question, answer]"},
      // tokens
      {kTokens, "{}", "key 'input_ids' is missing"},
      {kTokens, R"({"input_ids": []})", "the row has no tokens"},
      {kTokens, R"({"input_ids": 5})", "'input_ids' must be a list, not number"},
      {kTokens, R"({"input_ids": [1.0]})",
       "'input_ids'[0] must be an integer, not a number with a fraction"},
      {kTokens, R"({"input_ids": ["1"]})", "'input_ids'[0] must be an integer, not string"},
      {kTokens, R"({"input_ids": [1, -1]})", "'input_ids'[1] is -1, not in [0, 420)"},
      {kTokens, R"({"input_ids": [420]})", "'input_ids'[0] is 420, not in [0, 420)"},
      {kTokens, R"({"input_ids": [18446744073709551615]})", "beyond 32 bits"},
      {kTokens, R"({"input_ids": [1, 2], "labels": [1]})",
       "'labels' has 1 entries and 'input_ids' 2"},
      {kTokens, R"({"input_ids": [1, 2], "labels": [1, -1]})",
       "'labels'[1] is -1, neither -100 nor in [0, 420)"},
      {kTokens, R"({"input_ids": [1, 2], "labels": [1, 420]})", "'labels'[1] is 420"},
      {kTokens, R"({"input_ids": [1, 2], "labels": null})", "'labels' must be a list, not null"},
  };
  static_assert(std::size(table) >= 60);
  for (const BadRow& bad : table) {
    const auto examples = Load("train.jsonl", "\n" + bad.row, bad.format);
    ASSERT_FALSE(examples.ok()) << bad.row.substr(0, 100);
    const std::string message(examples.status().message());
    EXPECT_EQ(message.rfind((folder_ / "train.jsonl:2: "), 0), 0u) << message;
    EXPECT_THAT(message, HasSubstr(bad.message)) << bad.row.substr(0, 100);
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

// Threads change neither the examples' order nor which error is told.
TEST_F(Dataset, RowsAreReadByThreadsInOrder) {
  std::string rows;
  for (int i = 0; i < 3000; ++i) rows += absl::StrCat(R"({"text": "row )", i, "\"}\n");
  const auto want = Load("rows.jsonl", rows, RowFormat::kText).value();
  options_.threads = 4;
  const auto got = Load("rows.jsonl", rows, RowFormat::kText).value();
  ASSERT_EQ(got.size(), 3000u);
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].input_ids, want[i].input_ids);
    EXPECT_EQ(got[i].source, want[i].source);
  }
}

TEST_F(Dataset, TheFirstBadRowIsTheErrorOnAnyNumberOfThreads) {
  std::string rows;
  for (int i = 0; i < 2000; ++i) rows += "{\"text\": \"good\"}\n";
  const std::string bad = rows + "{\"text\": 1}\n{\"text\": 2}\nnot JSON\n";
  for (const int threads : {1, 2, 5}) {
    options_.threads = threads;
    EXPECT_THAT(ErrorText(Load("bad.jsonl", bad, RowFormat::kText)), HasSubstr("bad.jsonl:2001: "));
    EXPECT_THAT(ErrorText(Load("worse.jsonl", rows + "{\n" + bad, RowFormat::kText)),
                HasSubstr("worse.jsonl:2001: "));
  }
}

}  // namespace
}  // namespace fttrain
