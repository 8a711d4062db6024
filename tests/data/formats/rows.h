// Rows and files for tests of formats, and what is made of them in words.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/given.h"
#include "data/chat/jinja/template.h"
#include "data/formats/conversations.h"
#include "data/formats/dataset.h"
#include "tests/data/golden.h"
#include "tests/temp_folder.h"

namespace fttrain {

inline std::string JsonOf(const jinja::Value& value) {
  const auto code = jinja::Template::Parse("{{ value | tojson }}");
  const std::map<std::string, jinja::Value> none;
  return code->Render(jinja::Given{none, {{"value", value}}}, std::tm())->text;
}

// A line a turn, "assistant*: text", the star where it is learnt, "none" for null content, and
// behind it what else it brings; then tools and documents.
inline std::string InWords(const Conversation& conversation) {
  std::string out;
  for (const Message& turn : conversation.messages) {
    absl::StrAppend(&out, turn.role, turn.learn ? "*" : "", ": ",
                    turn.null_content ? "none" : turn.content);
    for (const auto& [key, value] : turn.more) absl::StrAppend(&out, " ", key, "=", JsonOf(value));
    out += "\n";
  }
  for (const jinja::Value& tool : conversation.tools) {
    absl::StrAppend(&out, "tool ", JsonOf(tool), "\n");
  }
  for (const jinja::Value& document : conversation.documents) {
    absl::StrAppend(&out, "document ", JsonOf(document), "\n");
  }
  return out;
}

inline std::string Gzip(const std::string& text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(compressBound(text.size()) + 64, '\0');
  std::string in = text;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

// A small tokenizer, ChatML, and files in a folder of their own.
class RowsTest : public testing::Test {
 protected:
  RowsTest()
      : tokenizer_(GoldenTokenizer("smollm2", R"({"eos_token": "<|endoftext|>"})")),
        chat_(*ChatTemplate::Create({.name = "chatml"}, "", *tokenizer_)) {
    options_.tokenizer = tokenizer_.get();
    options_.chat = &chat_;
    options_.vocab_size = tokenizer_->MaxId() + 1;
  }

  absl::StatusOr<Dataset> Load(const std::string& name, const std::string& text, RowFormat format,
                               const std::map<std::string, std::string>& fields = {}) const {
    return LoadDataset({folder_.Write(name, text), format, fields}, options_);
  }
  // The examples of one row.
  std::vector<Example> Read(const std::string& row, RowFormat format,
                            const std::map<std::string, std::string>& fields = {}) const {
    auto read = Load("row.jsonl", row, format, fields);
    EXPECT_TRUE(read.ok()) << read.status();
    return read.ok() ? read->examples : std::vector<Example>(1);
  }
  // The one example of a row.
  Example One(const std::string& row, RowFormat format) const {
    std::vector<Example> examples = Read(row, format);
    EXPECT_EQ(examples.size(), 1u);
    return examples.at(0);
  }
  std::string Text(const Example& example) const {
    return tokenizer_->Decode(example.input_ids, false);
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

}  // namespace fttrain
