// A dataset file of any format. The first byte: its bits are the options it is read with.
#include <memory>

#include "data/formats/dataset.h"
#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {
namespace {

// Bytes of ASCII as tokens, and what ends a turn.
std::unique_ptr<Tokenizer> MakeTokenizer() {
  std::string vocabulary;
  for (int id = 0; id < 256; ++id) {
    char token[32];
    std::snprintf(token, sizeof(token), "%s\"<0x%02X>\":%d", id == 0 ? "" : ",", id, id);
    vocabulary += token;
  }
  const std::string json =
      R"({"added_tokens":[{"id":256,"content":"<end>","special":true,"normalized":false,"lstrip":false,"rstrip":false,"single_word":false}],)"
      R"("decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"}]},)"
      R"("model":{"type":"BPE","byte_fallback":true,"merges":[],"vocab":{)" +
      vocabulary + "}}}";
  auto made = Tokenizer::FromJson(json, R"({"eos_token":"<end>"})", "tokenizer.json");
  FT_CHECK(made.ok(), made.status().ToString());
  return *std::move(made);
}

ChatTemplate MakeChat(const Tokenizer& tokenizer) {
  auto made = ChatTemplate::FromText(
      "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{% for d in documents or [] %}{{ d | "
      "tojson "
      "}}{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.reasoning_content or '' }}{{ "
      "m.content or '' "
      "}}{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}<end>{% endfor %}{% if "
      "add_generation_prompt %}assistant: {% endif %}",
      "fuzz", {{"eos_token", "<end>"}}, tokenizer);
  FT_CHECK(made.ok(), made.status().ToString());
  return *std::move(made);
}

void Check(const Dataset& dataset, const DatasetOptions& options) {
  const DatasetReport& report = dataset.report;
  FT_CHECK(report.rows > 0 && report.skipped >= 0 && report.skipped < report.rows, report.rows);
  FT_CHECK(options.on_bad_row == OnBadRow::kSkip || report.skipped == 0, report.skipped);
  FT_CHECK(report.faults.size() <= kMaxFaults && report.format != RowFormat::kAuto, "");
  int64_t targets = 0;
  for (const Example& example : dataset.examples) {
    FT_CHECK(example.input_ids.size() == example.labels.size(), example.source);
    for (size_t i = 0; i < example.labels.size(); ++i) {
      const int32_t id = example.input_ids[i], label = example.labels[i];
      FT_CHECK(0 <= id && id < options.vocab_size, example.source, " ", id);
      FT_CHECK(label == kNoTarget || (0 <= label && label < options.vocab_size), example.source);
    }
    targets += CountTargets(example, static_cast<int64_t>(example.input_ids.size()));
  }
  FT_CHECK(targets > 0, "nothing to learn");
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string chat =
      R"({"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"assistant","content":"yo"}]})";
  const std::string calls =
      R"({"messages":[{"role":"user","content":"w?"},{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"1","content":"3"},{"role":"assistant","content":"3","train":true}],"tools":[{"type":"function","function":{"name":"f","parameters":{}}}]})";
  const std::string tokens = R"({"input_ids":[1,2,3,256],"labels":[-100,2,3,256]})";
  return {"\x01" + chat + "\n" + chat + "\n",
          "\x01" + calls + "\r\n",
          "\x01" + tokens + "\n\n" + tokens,
          "\x01{\"text\":\"some words\"}\n",
          "\x03[" + chat + ",\n" + chat + "]",
          "\x05{\"data\":[" + tokens + "],\"version\":1}",
          "\x01{\"prompt\":\"p\",\"completion\":\"c\"}\n",
          "\x01{\"instruction\":\"p\",\"input\":\"\",\"output\":\"c\"}\n",
          "\x11text,n\n\"a \"\"b\"\"\nc\",1\r\n\nd,\n",
          "\x11\xef\xbb\xbfmessages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"hi\"\"},"
          "{\"\"role\"\":\"\"assistant\"\",\"\"content\"\":\"\"yo\"\"}]\"\n",
          "\x01{\"conversations\":[{\"from\":\"human\",\"value\":\"a\"},{\"from\":\"gpt\","
          "\"value\":\"b\"}]}\n"};
}

std::vector<std::string> Words() {
  return {"\"messages\"",
          "\"role\"",
          "\"content\"",
          "\"user\"",
          "\"assistant\"",
          "\"tool\"",
          "\"system\"",
          "\"input_ids\"",
          "\"labels\"",
          "\"attention_mask\"",
          "\"text\"",
          "\"prompt\"",
          "\"completion\"",
          "\"conversations\"",
          "\"from\"",
          "\"value\"",
          "\"gpt\"",
          "\"weight\":0",
          "\"train\":false",
          "\"reasoning_content\"",
          "\"thinking\"",
          "\"tool_calls\"",
          "\"arguments\"",
          "\"documents\"",
          "\"chosen\"",
          "\"rejected\"",
          "\\ud800",
          "\\u0000",
          "\xef\xbb\xbf",
          "\r\n",
          "\n",
          "\"\"",
          ",",
          "null",
          "{}",
          "[]",
          "PK\x03\x04",
          "\x1f\x8b",
          "PAR1",
          "-100",
          "<end>",
          "assistant: "};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  static const Scratch scratch;
  static const std::unique_ptr<Tokenizer> tokenizer = MakeTokenizer();
  static const ChatTemplate chat = MakeChat(*tokenizer);
  if (size == 0) return 0;
  DatasetOptions options;
  options.tokenizer = tokenizer.get();
  options.chat = &chat;
  options.vocab_size = 257;
  options.max_row_bytes = 4096;
  options.on_bad_row = (data[0] & 1) != 0 ? OnBadRow::kSkip : OnBadRow::kStop;
  options.train_on = (data[0] & 2) != 0 ? TrainOn::kLast : TrainOn::kAll;
  options.turns = (data[0] & 4) != 0 ? Turns::kEach : Turns::kWhole;
  options.sequence_len = (data[0] & 8) != 0 ? 16 : 0;
  const std::string path = scratch.Write((data[0] & 16) != 0 ? "rows.csv" : "rows",
                                         {reinterpret_cast<const char*>(data) + 1, size - 1});
  const auto dataset = LoadDataset({path}, options);
  if (!dataset.ok()) return Refused(dataset.status());
  ++accepted;
  Check(*dataset, options);
  return 0;
}
