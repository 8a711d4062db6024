// Every bad row is one clear line: file, line, key, reason, what to do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/data/formats/rows.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::HasSubstr;
using enum RowFormat;

struct BadRow {
  RowFormat format;
  std::string row;
  std::string message;
};

// {"messages": [a user's turn, TURN]}.
std::string With(const std::string& turn) {
  return R"({"messages": [{"role": "user", "content": "a"}, )" + turn + "]}";
}
// An assistant's turn with KEY beside its text.
std::string Turn(const std::string& key) {
  return With(R"({"role": "assistant", "content": "b", )" + key + "}");
}
// A good conversation with KEY beside it.
std::string Row(const std::string& key) {
  return R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], )" +
         key + "}";
}
std::string Call(const std::string& call) {
  return With(R"({"role": "assistant", "content": null, "tool_calls": [)" + call + "]}");
}
// ShareGPT, one turn of the assistant first.
std::string ShareGpt(const std::string& turn) {
  return R"({"conversations": [{"from": "gpt", "value": "a"}, )" + turn + "]}";
}
std::string Tokens(const std::string& key) { return R"({"input_ids": [5, 6, 7], )" + key + "}"; }

class BadRows : public RowsTest {
 protected:
  void Expect(const std::vector<BadRow>& table) const {
    for (const BadRow& bad : table) {
      std::string row = bad.row;
      std::replace(row.begin(), row.end(), '\n', ' ');
      const auto read = Load("train.jsonl", "\n" + row, bad.format);
      ASSERT_FALSE(read.ok()) << bad.row.substr(0, 200);
      const std::string message(read.status().message());
      EXPECT_EQ(message.rfind((folder_ / "train.jsonl:2: "), 0), 0u) << message;
      EXPECT_THAT(message, HasSubstr(bad.message)) << bad.row.substr(0, 200);
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
};

TEST_F(BadRows, ThatAreNoJson) {
  const std::string deep = R"({"text": )" + std::string(5000, '[') + std::string(5000, ']') + "}";
  Expect({
      {kText, "{", "not valid JSON at byte"},
      {kText, "nonsense", "not valid JSON at byte"},
      {kText, R"({"text": "a"}{"text": "b"})", "not valid JSON at byte 14"},
      {kText, R"({"text": "a",})", "not valid JSON at byte"},
      {kText, "{'text': 'a'}", "not valid JSON at byte"},
      {kText, R"({"text": "a)", "not valid JSON at byte"},
      {kText, "{\"text\": \"\xC3\x28\"}", "not UTF-8 at byte 11: save the file as UTF-8"},
      {kText, "{\"text\": \"\xED\xA0\x80\"}", "not UTF-8 at byte 11"},
      {kText, "{\"text\": \"\\ud800\"}", "not valid JSON at byte"},
      {kText, "{\"text\": \"\\ud800\\u0041\"}", "not valid JSON at byte"},
      {kText, std::string("{\"text\": \"a\0b\"}", 15), "not valid JSON at byte"},
      {kText, std::string("{\"text\": \"a\"}\0{\"text\": \"b\"}", 27),
       "not valid JSON at byte 14: a NUL: the file is damaged"},
      {kText, std::string("{\"text\": \"a\"}\0\0", 15), "not valid JSON at byte 14: a NUL"},
      {kText, R"({"text": NaN})", "not valid JSON at byte"},
      {kText, R"({"text": 1e999})", "not valid JSON"},
      {kText, "{\"text\": \"\t\"}", "not valid JSON at byte"},
      {kText, deep, "nested deeper than 64"},
      {kText, "null", "a row is a JSON object, not null"},
      {kText, "3.5", "a row is a JSON object, not a number with a fraction"},
      {kText, "\"text\"", "a row is a JSON object, not string"},
      {kText, R"({"text": "a", "text": "b"})",
       "key 'text' stands twice in one object: keep one of them"},
      {kMessages, With(R"({"role": "assistant", "content": "b", "content": "c"})"),
       "key 'content' stands twice"},
      {kText, R"({"text": "a", "n": 123456789012345678901})",
       "the integer 123456789012345678901 is beyond 64 bits: write it as a string"},
  });
}

TEST_F(BadRows, OfTextAndTokens) {
  Expect({
      {kText, "{}", "key 'text' is missing"},
      {kText, R"({"txt": "a", "id": 3})",
       "key 'text' is missing; there is 'txt', 'id': fields says what is called otherwise"},
      {kText, R"({"text": null})", "'text' must be a string, not null"},
      {kText, R"({"text": 5})", "'text' must be a string, not number"},
      {kText, R"({"text": ["a"]})", "'text' must be a string, not array"},
      {kText, R"({"text": ""})", "'text' is empty"},
      {kText, R"({"text": "a", "images": ["x.png"]})",
       "'images' is not supported: only text is trained: take it out"},
      {kText, R"({"text": "a", "weight": 0.5})", "'weight' is not supported: all targets count"},
      {kTokens, "{}", "key 'input_ids' is missing"},
      {kTokens, R"({"input_ids": []})", "the row has no tokens"},
      {kTokens, R"({"input_ids": 5})", "'input_ids' must be a list, not number"},
      {kTokens, R"({"input_ids": [1.0]})",
       "'input_ids'[0] must be an integer, not a number with a fraction"},
      {kTokens, R"({"input_ids": ["1"]})", "'input_ids'[0] must be an integer, not string"},
      {kTokens, R"({"input_ids": [true]})", "'input_ids'[0] must be an integer, not boolean"},
      {kTokens, R"({"input_ids": [1, -1]})", "'input_ids'[1] is -1, not in [0, 420)"},
      {kTokens, R"({"input_ids": [420]})", "'input_ids'[0] is 420, not in [0, 420)"},
      {kTokens, R"({"input_ids": [18446744073709551615]})", "beyond 32 bits"},
      {kTokens, R"({"input_ids": [1, 2], "labels": [1]})",
       "'labels' has 1 entries and 'input_ids' 2"},
      {kTokens, R"({"input_ids": [1, 2], "labels": [1, -1]})",
       "'labels'[1] is -1, neither -100 nor in [0, 420)"},
      {kTokens, R"({"input_ids": [1, 2], "labels": [1, 420]})", "'labels'[1] is 420"},
      {kTokens, R"({"input_ids": [1, 2], "labels": null})", "'labels' must be a list, not null"},
      {kTokens, Tokens(R"("attention_mask": [1, 1])"),
       "'attention_mask' has 2 entries and 'input_ids' 3"},
      {kTokens, Tokens(R"("attention_mask": [1, 0, 1])"),
       "'attention_mask'[1] is 0 between tokens that are attended"},
      {kTokens, Tokens(R"("attention_mask": [1, 2, 3])"),
       "'attention_mask'[1] is 2: only 0 (padding) and 1 are read"},
      {kTokens, Tokens(R"("attention_mask": [0, 0, 0])"), "the row has no tokens"},
      {kTokens, Tokens(R"("position_ids": [0, 1, 0])"),
       "'position_ids'[2] is 0, not 2: rows that are packed already"},
      {kTokens, Tokens(R"("position_ids": [5, 6, 7])"), "'position_ids'[0] is 5, not 0"},
      {kTokens, Tokens(R"("token_type_ids": [0, 1, 1])"), "'token_type_ids' are not all 0"},
      {kTokens, Tokens(R"("length": 7)"), "'length' is 7, but there are 3 tokens"},
      {kTokens, Tokens(R"("cu_seqlens": [0, 1, 3])"), "'cu_seqlens' is not supported: rows that"},
      {kTokens, Tokens(R"("completion_mask": [0, 0, 1])"),
       "'completion_mask' is not supported: what is learnt is said by 'labels'"},
  });
}

TEST_F(BadRows, OfPromptAndCompletion) {
  Expect({
      {kPromptCompletion, R"({"completion": "b"})", "key 'prompt' is missing"},
      {kPromptCompletion, R"({"prompt": "a"})", "key 'completion' is missing"},
      {kPromptCompletion, R"({"prompt": "a", "completion": ""})", "'completion' is empty"},
      {kPromptCompletion, R"({"prompt": 1, "completion": "b"})", "'prompt' must be a string"},
      {kPromptCompletion, R"({"prompt": "a", "completion": null})",
       "'completion' must be a string, not null"},
      {kPromptCompletion, R"({"prompt": "a", "completion": []})",
       "must both be strings or both be lists"},
      {kPromptCompletion, R"({"prompt": [], "completion": []})", "'prompt' is empty"},
      {kPromptCompletion, R"({"prompt": ["a"], "completion": ["b"]})",
       "'prompt'[0]: a message is a JSON object, not string"},
      {kPromptCompletion,
       R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "user", "content": "b"}]})",
       "no assistant turn"},
      {kPromptCompletion,
       R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}],
           "completion": [{"role": "assistant", "content": "b"}]})",
       "'prompt'[1]: the turn is marked to be learnt, but only those of the answer are"},
      {kPromptCompletion, R"({"prompt": "a", "completion": " b", "system": "S"})",
       "'system' is not supported: strings have no place for it: write prompt and answer as lists"},
      {kPromptCompletion, R"({"prompt": "a", "completion": " b", "tools": "[{\"name\": \"f\"}]"})",
       "'tools' is not supported"},
      {kPromptCompletion, R"({"prompt": "a", "completion": " b", "label": true})",
       "'label' is not supported: rows marked as good or bad"},
      {kPromptCompletion, R"({"prompt": "a", "completion": " b", "label": false})",
       "'label' is not supported"},
      {kPromptCompletion, R"({"prompt": "a", "completion": " b", "suffix": "c"})",
       "'suffix' is not supported"},
      {kPromptCompletion, R"({"prompt": "a", "completion": " b", "context": "c"})",
       "'context' is not supported: text that goes with the question"},
      {kPreference, R"({"prompt": "a", "rejected": "b"})", "key 'chosen' is missing"},
      {kPreference, R"({"chosen": "a", "rejected": "b"})", "key 'prompt' is missing"},
      {kPreference, R"({"prompt": "a", "chosen": ""})", "'chosen' is empty"},
      {kPreference, R"({"prompt": "x", "chosen": [{"role": "user", "content": "a"},
           {"role": "assistant", "content": "b"}]})",
       "the conversation in 'chosen' has not 'prompt' in it"},
      {kPreference, R"({"chosen": [{"role": "assistant", "content": "b"}]})",
       "key 'prompt' is missing or empty, and 'chosen' has no user's turn"},
      {kPreference, R"({"prompt": "x", "chosen": [{"role": "narrator", "content": "a"}]})",
       "'chosen'[0]: role 'narrator' is none of"},
  });
}

TEST_F(BadRows, OfMessages) {
  Expect({
      {kMessages, "{}", "key 'messages' is missing"},
      {kMessages, R"({"messages": "hi"})", "'messages' must be a list of messages, not string"},
      {kMessages, R"({"messages": null})", "'messages' must be a list of messages, not null"},
      {kMessages, R"({"messages": []})", "'messages' is empty"},
      {kMessages, R"({"messages": ["hi"]})",
       "'messages'[0]: a message is a JSON object, not string"},
      {kMessages, R"({"messages": [{"content": "a"}]})", "'messages'[0]: key 'role' is missing"},
      {kMessages, R"({"conversations": [{"from": "human", "value": "a"}]})",
       "'conversations'[0]: 'from' in place of 'role' is format sharegpt: set it"},
      {kMessages, R"({"messages": [{"role": "user"}]})", "'messages'[0]: key 'content' is missing"},
      {kMessages, R"({"messages": [{"role": 1, "content": "a"}]})", "'role' must be a string"},
      {kMessages, R"({"messages": [{"role": "user", "content": null}]})",
       "'content' is null in a turn without tool_calls: write its text, or \"\""},
      {kMessages, With(R"({"role": "assistant", "content": null, "tool_calls": []})"),
       "'messages'[1]: 'content' is null in a turn without tool_calls"},
      {kMessages, R"({"messages": [{"role": "user", "content": []}]})",
       "'content' is an empty list"},
      {kMessages, R"({"messages": [{"role": "user", "content": {"a": 1}}]})",
       "'content' must be a string or a list of text parts (JSON is written as text), not object"},
      {kMessages, R"({"messages": [{"role": "user", "content": 5}]})", "not number"},
      {kMessages, R"({"messages": [{"role": "user", "content": ["a"]}]})",
       "'content'[0]: a part of a text is an object"},
      {kMessages,
       R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]})",
       "'content'[0]: a part of type \"image_url\": only parts of type \"text\" are trained"},
      {kMessages, R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
       "'content'[0]: 'text' must be a string, not null"},
      {kMessages,
       R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "image_url": "x"}]}]})",
       "'content'[0]: 'image_url' is not supported: only text is trained"},
      {kMessages, With(R"({"role": "narrator", "content": "b"})"),
       "'messages'[1]: role 'narrator' is none of system, developer, user, assistant, tool: "
       "rename"},
      {kMessages, With(R"({"role": "gpt", "content": "b"})"),
       "role 'gpt' is none of system, developer, user, assistant, tool: rename it, or set format "
       "sharegpt"},
      {kMessages, With(R"({"role": "function", "content": "b"})"),
       "a function's result is role tool today"},
      {kMessages, With(R"({"role": "a\u001b[2J\nb", "content": "b"})"), R"(role 'a\x1b[2J\nb')"},
      {kMessages, R"({"messages": [{"role": "user", "content": "a"}]})",
       "no assistant turn to learn from"},
      {kMessages, Turn(R"("weight": 0)"), "all are marked not to be"},
      {kMessages, Turn(R"("weight": 0.5)"),
       "'messages'[1]: 'weight' is 0.5: a turn is learnt (1, true) or not (0, false)"},
      {kMessages, Turn(R"("train": "yes")"), "'train' is \"yes\""},
      {kMessages, Turn(R"("loss": 2)"), "'loss' is 2"},
      {kMessages, Turn(R"("mask": -1)"), "'mask' is -1"},
      {kMessages, Turn(R"("weight": 0, "train": true)"),
       "'weight' and 'train' contradict each other"},
      {kMessages, R"({"messages": [{"role": "user", "content": "a", "weight": 1}]})",
       "a turn of role user is marked to be learnt, but only assistant turns are"},
      {kMessages, Turn(R"("loss_mask": 0)"),
       "'loss_mask' is not supported: which turns are learnt"},
      {kMessages, Turn(R"("masked": true)"), "'masked' is not supported"},
      {kMessages, Turn(R"("train_detail": [{"begin_offset": 0}])"), "'train_detail' is not supp"},
      {kMessages, Turn(R"("function_call": {"name": "f", "arguments": "{}"})"),
       "'messages'[1]: 'function_call' is not supported: the old form of a call: write tool_calls"},
      {kMessages, Turn(R"("refusal": "no")"), "'refusal' is not supported"},
      {kMessages, Turn(R"("prefix": true)"), "'prefix' is not supported"},
      {kMessages, Turn(R"("reasoning_content": ["x"])"),
       "'reasoning_content' must be a string, not array"},
      {kMessages, Turn(R"("reasoning_content": "x", "thinking": "y")"),
       "'reasoning_content' and 'thinking' contradict each other"},
      {kMessages, Turn(R"("reasoning_details": [{"text": "x"}])"),
       "'reasoning_details' is not supported: write what is learnt of it as reasoning_content"},
      {kMessages, With(R"({"role": "user", "content": "b", "reasoning": "x"})"),
       "'reasoning' in a turn of role user: only an assistant's turn has it"},
      {kMessages, Turn(R"("images": ["x.png"])"), "'images' is not supported"},
      {kMessages, With(R"({"role": "tool", "content": "b", "tool_call_id": 5})"),
       "'tool_call_id' must be a string, not number"},
      {kMessages, With(R"({"role": "user", "content": "b", "tool_calls": [{"name": "f"}]})"),
       "'tool_calls' in a turn of role user"},
  });
}

TEST_F(BadRows, OfCalls) {
  Expect({
      {kMessages, Turn(R"("tool_calls": 5)"),
       "'tool_calls' must be a list, or the JSON text of one, not number"},
      {kMessages, Turn(R"("tool_calls": "none")"),
       "'messages'[1]: the text of 'tool_calls': not valid JSON at byte"},
      {kMessages, Call("3"), "'tool_calls'[0]: a call is an object of name and arguments"},
      {kMessages, Call(R"({"type": "function", "function": "f"})"),
       "'tool_calls'[0]: 'function' must be an object"},
      {kMessages, Call(R"({"arguments": {}})"), "'tool_calls'[0]: key 'name' is missing"},
      {kMessages, Call(R"({"name": null})"), "'name' must be a function's name"},
      {kMessages, Call(R"({"name": "f", "arguments": "x=1"})"),
       "'tool_calls'[0]: 'arguments': not valid JSON at byte 1"},
      {kMessages, Call(R"({"name": "f", "arguments": "[1]"})"),
       "'arguments' must be the JSON text of an object, not of array"},
      {kMessages, Call(R"({"name": "f", "arguments": 5})"),
       "'arguments' must be an object, or the JSON text of one, not number"},
      {kMessages, Call(R"({"name": "f", "parameters": {"a": 1}})"),
       "'parameters': a call's are 'arguments': rename it"},
      {kMessages, Call(R"({"type": "custom", "custom": {"name": "f"}})"),
       "'type' is \"custom\": only calls of type 'function' are read"},
      {kMessages, Call(R"({"name": "f", "function": {"name": "g"}})"),
       "'name' stands beside 'function'"},
      {kMessages, Call(R"({"name": "f", "arguments": {"n": 18446744073709551615}})"),
       "'tool_calls': integers beyond 64 bits are not supported"},
      {kShareGpt, ShareGpt(R"({"from": "function_call", "value": "f x"})"),
       "'conversations'[1]: the text of a function_call is the JSON of one call"},
      {kShareGpt, ShareGpt(R"({"from": "function_call", "value": "5"})"), "or of a list: number"},
      {kShareGpt, ShareGpt(R"({"from": "function_call", "value": null})"),
       "'value' must be a string, not null"},
      {kShareGpt, ShareGpt(R"({"from": "function_call", "value": "{\"arguments\": {\"a\": 1}}"})"),
       "'value'[0]: key 'name' is missing"},
  });
}

TEST_F(BadRows, OfWhatStandsBesideTheTurns) {
  Expect({
      {kMessages, Row(R"("system": 5)"), "'system' must be a string, not number"},
      {kMessages, R"({"system": "S", "messages": [{"role": "system", "content": "T"},
                      {"role": "assistant", "content": "b"}]})",
       "'system' and the system turn contradict each other: keep one"},
      {kMessages, Row(R"("conversations": [{"role": "user", "content": "a"}])"),
       "'messages' and 'conversations' both hold a conversation"},
      {kMessages, Row(R"("tools": {"name": "f"})"),
       "'tools' must be a list, or the JSON text of one, not object"},
      {kMessages, Row(R"("tools": "{\"name\": \"f\"}")"), "'tools' must be a list"},
      {kMessages, Row(R"("tools": "f")"), "the text of 'tools': not valid JSON"},
      {kMessages, Row(R"("tools": [5])"), "'tools'[0] must be an object, not number"},
      {kMessages, Row(R"("documents": ["x", "y"])"), "'documents'[0]: not valid JSON"},
      {kMessages, Row(R"("functions": [{"name": "f"}])"),
       "'functions' is not supported: the old form of tools"},
      {kMessages, Row(R"("function_call": "auto")"), "'function_call' is not supported"},
      {kMessages, Row(R"("chat_template_kwargs": {"enable_thinking": false})"),
       "'chat_template_kwargs' is not supported: a row cannot steer the chat template"},
      {kMessages, Row(R"("enable_thinking": false)"), "'enable_thinking' is not supported"},
      {kMessages, Row(R"("videos": ["x"])"), "'videos' is not supported: only text"},
      {kMessages, Row(R"("audios": ["x"])"), "'audios' is not supported: only text"},
      {kMessages, Row(R"("parallel_tool_calls": false)"), "'parallel_tool_calls' is not supported"},
      {kMessages, Row(R"("response_format": {"type": "json_object"})"), "'response_format' is not"},
      {kMessages, Row(R"("label": 0)"), "'label' is not supported"},
      {kMessages, Row(R"("kto_tag": true)"), "'kto_tag' is not supported"},
      {kMessages, Row(R"("rejected": [{"role": "assistant", "content": "c"}])"),
       "'rejected' is not supported: of pairs of answers format preference learns the chosen one"},
      {kMessages, Row(R"("system_prompt": "S")"),
       "'system_prompt' is not supported: a system prompt under another name: fields: {system: "
       "NAME} reads it"},
      {kMessages, Row(R"("weight": 2)"), "'weight' is not supported: all targets count the same"},
      {kMessages, Row(R"("train_on_inputs": true)"), "data.train_on says it for all rows"},
      {kAlpaca, R"({"output": "a"})", "key 'instruction' is missing"},
      {kAlpaca, R"({"instruction": "a"})", "key 'output' is missing"},
      {kAlpaca, R"({"instruction": "", "input": "", "output": "b"})",
       "'instruction' and 'input' are empty"},
      {kAlpaca, R"({"instruction": "a", "output": ""})", "'output' is empty"},
      {kAlpaca, R"({"instruction": "a", "input": 5, "output": "b"})", "'input' must be a string"},
      {kAlpaca, R"({"instruction": "a", "output": ["b"]})", "'output' must be a string, not array"},
      {kAlpaca, R"({"instruction": "a", "output": "b", "history": 5})", "'history' must be a list"},
      {kAlpaca, R"({"instruction": "a", "output": "b", "history": [["x"]]})",
       "'history'[0] must be [question, answer]"},
      {kAlpaca, R"({"instruction": "a", "output": "b", "rejected": "c"})",
       "'rejected' is not supported"},
  });
}

TEST_F(BadRows, OfShareGpt) {
  Expect({
      {kShareGpt, "{}", "key 'conversations' is missing"},
      {kShareGpt, ShareGpt(R"({"from": "narrator", "value": "x"})"),
       "'conversations'[1]: role 'narrator' is none of system, developer, human, user"},
      {kShareGpt, ShareGpt(R"({"value": "x"})"), "'conversations'[1]: key 'from' is missing"},
      {kShareGpt, ShareGpt(R"({"from": "human"})"), "'conversations'[1]: key 'value' is missing"},
      {kShareGpt, ShareGpt(R"({"from": null, "value": "x"})"), "'from' must be a string, not null"},
      {kShareGpt, ShareGpt(R"({"from": "human", "role": "assistant", "value": "x"})"),
       "'from' and 'role' contradict each other"},
      {kShareGpt, ShareGpt(R"({"from": "human", "value": "x", "content": "y"})"),
       "'value' and 'content' contradict each other"},
      {kShareGpt, ShareGpt(R"({"from": "human", "value": 5})"), "'value' must be a string"},
      {kShareGpt, ShareGpt(R"({"from": "human", "value": "x", "weight": 1})"),
       "a turn of role user is marked to be learnt"},
      {kShareGpt, R"({"conversations": [{"from": "human", "value": "x"}]})",
       "no assistant turn to learn from"},
      {kShareGpt, R"({"conversations": [{"from": "gpt", "value": "x"}], "images": ["a.png"]})",
       "'images' is not supported"},
      {kShareGpt, R"({"conversations": [{"from": "gpt", "value": "x"}],
                      "chosen": {"from": "gpt", "value": "y"}})",
       "'chosen' is not supported: of pairs of answers"},
  });
}

TEST_F(BadRows, WithTrainOnPromptNeedNoAnswerButMayNotExcludeAQuestion) {
  options_.train_on = TrainOn::kPrompt;
  Expect({{kMessages, R"({"messages": [{"role": "user", "content": "a", "weight": 0}]})",
           "a turn of role user is marked not to be learnt, but data.train_on is prompt"}});
  EXPECT_TRUE(
      Load("a.jsonl", R"({"messages": [{"role": "user", "content": "a"}]})", kMessages).ok());
}

// Of a template's complaint the row's own words are told too.
TEST_F(BadRows, WordsOfTheRowAreToldBesideThoseOfTheTemplate) {
  const auto strict = ChatTemplate::FromText(
      "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tool_calls') }}"
      "{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
      "strict", {}, *tokenizer_);
  ASSERT_TRUE(strict.ok()) << strict.status();
  options_.chat = &*strict;
  Expect({{kShareGpt, ShareGpt(R"({"from": "function_call", "value": "{\"name\": \"f\"}"},
                       {"from": "observation", "value": "x"})"),
           "tool_calls is what the row has as function_call"},
          {kShareGpt, ShareGpt(R"({"from": "function_call", "value": "{\"name\": \"f\"}"},
                       {"from": "function_call", "value": "{\"name\": \"g\"}"},
                       {"from": "observation", "value": "x"})"),
           "(calls that follow each other count as one message; tool_calls is"},
          {kMessages, R"({"system": "S", "messages": [{"role": "user", "content": "a"},
                       {"role": "tool", "content": "x"}, {"role": "assistant", "content": "b"}]})",
           "no tool_calls (message 0 is the row's 'system')"}});
}

}  // namespace
}  // namespace fttrain
