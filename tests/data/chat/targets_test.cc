// Masks of turns that call tools and think.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/data/chat/chat_test.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::HasSubstr;
using testing::Not;

jinja::Value Of(const std::string& json) {
  return jinja::FromJson(nlohmann::ordered_json::parse(json));
}

Message Calling(const std::string& calls, const std::string& content = "") {
  Message out{"assistant", content, true};
  out.null_content = content.empty();
  out.more.emplace_back("tool_calls", Of(calls));
  return out;
}

Message Thinking(const std::string& reasoning, const std::string& content,
                 const std::string& key = "reasoning_content") {
  Message out{"assistant", content, true};
  out.more.emplace_back(key, jinja::Value::String(reasoning));
  return out;
}

const char* const kClock = R"([{"id": "c1", "type": "function",
                                "function": {"name": "clock", "arguments": {"zone": "CE\"T"}}}])";

ChatTemplate From(const std::string& jinja) {
  auto chat = ChatTemplate::FromText(jinja, "test", {{"eos_token", "<|im_end|>"}},
                                     *GoldenTokenizer("smollm2"));
  EXPECT_TRUE(chat.ok()) << chat.status();
  return *std::move(chat);
}

ChatTemplate Builtin(const std::string& name) {
  auto chat = ChatTemplate::Create({name}, "", *GoldenTokenizer("smollm2"));
  EXPECT_TRUE(chat.ok()) << chat.status();
  return *std::move(chat);
}

// ChatML; `turn` is what an assistant's turn says.
ChatTemplate Chatml(const std::string& turn) {
  return From("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}" +
              turn +
              "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
              "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
}

TEST(ChatTargets, AreTheCallsOfATurnWithoutContent) {
  const ChatTemplate chat = Builtin("qwen2.5");
  const auto rendered = Render(
      chat, {{"user", "Time?"}, Calling(kClock), {"tool", "noon"}, {"assistant", "Noon.", true}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true),
            "<tool_call>\n{\"name\": \"clock\", \"arguments\": {\"zone\": \"CE\\\"T\"}}\n"
            "</tool_call><|im_end|>Noon.<|im_end|>");
}

TEST(ChatTargets, AreContentAndCallsTogether) {
  const auto rendered = Render(Builtin("qwen3"), {{"user", "Time?"}, Calling(kClock, "I look.")});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true),
            "<think>\n\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"clock\", \"arguments\": "
            "{\"zone\": \"CE\\\"T\"}}\n</tool_call><|im_end|>");
}

TEST(ChatTargets, ACallWithoutTextInItsArgumentsIsFound) {
  const ChatTemplate chat = Builtin("qwen2.5");
  for (const char* arguments : {"{}", R"({"days": 2, "deep": {"x": [1, null]}})", R"({"a": ""})"}) {
    const std::string call =
        absl::StrCat(R"([{"function": {"name": "clock", "arguments": )", arguments, "}}]");
    const auto rendered = Render(chat, {{"user", "Q"}, Calling(call), {"tool", "x"}});
    ASSERT_TRUE(rendered.ok()) << rendered.status();
    EXPECT_THAT(Joined(*rendered, true), HasSubstr(absl::StrCat("\"arguments\": ", arguments)));
  }
}

TEST(ChatTargets, CallsThatTheTemplateHasNoFormForAreRefusedByName) {
  const auto none = Render(Chatml("{{ m.content }}"), {{"user", "Q"}, Calling(kClock, "Look")});
  EXPECT_THAT(ErrorText(none), HasSubstr("message 1 (assistant): chat template test writes nothing "
                                         "of its tool_calls: "));
  const auto names = Render(Chatml("{{ m.content }}{% for c in m.tool_calls %}"
                                   "{{ c.function.name }}{% endfor %}"),
                            {{"user", "Q"}, Calling(kClock, "Look")});
  EXPECT_THAT(ErrorText(names), HasSubstr("leaves out a part of its tool_calls"));
}

TEST(ChatTargets, ATemplateThatWantsContentSaysWhoHasNone) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
      "'<|im_end|>\n' }}{% endfor %}");
  const auto bad = Render(chat, {{"user", "What time is it?"}, Calling(kClock)});
  EXPECT_THAT(ErrorText(bad), HasSubstr("message 1 (assistant) has tool_calls and no content"));
}

TEST(ChatTargets, ToolsThatTheTemplateLeavesOutAreRefused) {
  const std::vector<Message> messages = {{"user", "Q"}, {"assistant", "A", true}};
  const std::vector<jinja::Value> tools = {
      Of(R"({"type": "function", "function": {"name": "clock", "description": "d"}})")};
  EXPECT_THAT(ErrorText(Chatml("{{ m.content }}").Render({messages, tools})),
              HasSubstr("tools: chat template test writes nothing of them: take"));
  EXPECT_THAT(ErrorText(Chatml("{{ m.content }}").Render({messages, {}, {Of(R"({"text": "T"})")}})),
              HasSubstr("documents: chat template test writes nothing of them"));
  const auto written = Builtin("qwen3").Render({messages, tools});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(Joined(*written), HasSubstr("\"name\": \"clock\""));
}

// A template may look at a name: it is there though it is not found by another.
TEST(ChatTargets, ATemplateMayKnowTheToolsByName) {
  const ChatTemplate chat = Chatml(
      "{% for c in m.tool_calls or [] %}{% if c.function.name != 'clock' %}"
      "{{ raise_exception('no such tool') }}{% endif %}call {{ c.function.name }}"
      "({{ c.function.arguments.zone }}){% endfor %}{{ m.content }}");
  const auto rendered = Render(chat, {{"user", "Q"}, Calling(kClock, "Look"), {"user", "R"}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "call clock(CE\"T)Look<|im_end|>");
}

const char* const kThinks =
    "{% if loop.last %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}";

TEST(ChatTargets, ReasoningIsLearntWhereItIsWrittenAndCountedWhereItIsNot) {
  const auto rendered =
      Render(Chatml(kThinks),
             {{"user", "Q"}, Thinking("why", "A1"), {"user", "R"}, Thinking("because", "A2")});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "A1<|im_end|><think>\nbecause\n</think>\n\nA2<|im_end|>");
  EXPECT_EQ(rendered->dropped_reasoning, 1);
}

// transformers gives a template one reasoning under two names.
TEST(ChatTargets, ReasoningHasTheNamesThatTemplatesKnow) {
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
    for (const char* name : {"reasoning_content", "thinking"}) {
      const ChatTemplate chat = Chatml(absl::StrCat("{{ m.", name, " }}>{{ m.content }}"));
      const auto rendered = Render(chat, {{"user", "Q"}, Thinking("why", "A", key)});
      ASSERT_TRUE(rendered.ok()) << rendered.status();
      EXPECT_EQ(Joined(*rendered, true), "why>A<|im_end|>");
      EXPECT_EQ(rendered->dropped_reasoning, 0);
    }
  }
}

TEST(ChatTargets, ReasoningWithoutAPlaceIsRefusedByName) {
  for (const bool followed : {false, true}) {
    std::vector<Message> messages = {{"user", "Q"}, Thinking("why", "A", "reasoning")};
    if (followed) messages.push_back({"user", "R"});
    EXPECT_THAT(ErrorText(Render(Chatml("{{ m.content }}"), messages)),
                HasSubstr("message 1 (assistant): chat template test writes nothing of its "
                          "reasoning, even in the last turn: "));
  }
}

TEST(ChatTargets, ReasoningInsideTheContentIsCountedToo) {
  const ChatTemplate chat = Chatml(
      "{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif "
      "%}");
  const auto rendered = Render(chat, {{"user", "Q"},
                                      {"assistant", "<think>x</think>A1", true},
                                      {"user", "R"},
                                      {"assistant", "<think>y</think>A2", true}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "A1<|im_end|><think>y</think>A2<|im_end|>");
  EXPECT_EQ(rendered->dropped_reasoning, 1);
  const ChatTemplate never = Chatml("{{ m.content.split('</think>')[-1] }}");
  EXPECT_THAT(ErrorText(Render(never, {{"user", "Q"}, {"assistant", "<think>y</think>A", true}})),
              HasSubstr("message 1 (assistant): chat template test leaves out what stands before "
                        "</think>, even in the last turn"));
}

TEST(ChatTargets, AnyOtherKeyWithATextMustBeWritten) {
  Message named{"user", "Q"};
  named.more = {{"name", jinja::Value::String("bob")}, {"mood", jinja::Value::String("glad")}};
  const ChatTemplate plain = Chatml("{{ m.content }}");
  EXPECT_THAT(ErrorText(Render(plain, {named, {"assistant", "A", true}})),
              HasSubstr("message 0 (user): chat template test writes nothing of its mood: "));
  named.more.pop_back();
  EXPECT_TRUE(Render(plain, {named, {"assistant", "A", true}}).ok());
}

// The prompt of thinking models opens the thought, which earlier turns do not have.
TEST(ChatTargets, BeginBehindTheHeaderThatThePromptAndTheTurnShare) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{% if m.role == 'user' %}<user>{{ m.content }}{% else %}"
      "<assistant>{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n{% "
      "endif %}"
      "{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<assistant><think>\n{% endif %}");
  const auto rendered = Render(
      chat,
      {{"user", "Q"}, {"assistant", "<b>A1</b>", true}, {"user", "R"}, Thinking("why", "A2")});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "<b>A1</b><|im_end|>why\n</think>\nA2<|im_end|>");
}

// As gpt-oss and Gemma 4 do: the result's turn begins with the name that was called.
TEST(ChatTargets, TheNameOfACallMayStandWithItsResult) {
  const ChatTemplate chat = From(
      "{% set ns = namespace(name='') %}{% for m in messages %}{% if m.role == 'assistant' %}"
      "<|im_start|>assistant{{ m.content }}{% for c in m.tool_calls or [] %}"
      "{% set ns.name = c.function.name %} to {{ ns.name }}{% for v in "
      "c.function.arguments.values() %}"
      "({{ v }}){% endfor %}{% endfor %}<|im_end|>{% elif m.role == 'tool' %}<|im_start|>"
      "{{ ns.name }}={{ m.content }}<|im_end|>{% else %}<|im_start|>user:{{ m.content }}<|im_end|>"
      "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}");
  const auto rendered =
      Render(chat, {{"user", "Q"}, Calling(kClock), {"tool", "noon"}, {"assistant", "A", true}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), " to clock(CE\"T)<|im_end|>A<|im_end|>");
}

TEST(ChatTargets, ATurnMayHaveSeveralGenerationBlocks) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{% if m.role == 'assistant' %}a:{% generation %}{{ m.content }}"
      "{% endgeneration %};{% generation %}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}"
      "{% endif %}\n{% endfor %}");
  const auto rendered = Render(chat, {{"user", "Q"},
                                      {"assistant", "A", true},
                                      {"user", "R"},
                                      {"assistant", "", true},
                                      {"user", "S"},
                                      {"assistant", "B", false}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "A<|im_end|><|im_end|>");
}

TEST(ChatTargets, TwoTokensMayEndATurn) {
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}"
      "{% if m.role == 'assistant' %}<|endoftext|><|im_end|>{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}");
  EXPECT_EQ(chat.end_of_turn(), "<|im_end|>");
  const auto rendered = Render(
      chat, {{"user", "Q"}, {"assistant", "A", true}, {"user", "R"}, {"assistant", "B", true}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "A<|endoftext|><|im_end|>B<|endoftext|><|im_end|>");
}

// One message whose marks change the text does not hide the others.
TEST(ChatTargets, ATemplateMayLookAtOneOfManyMessages) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{% if m.content == 'magic' %}!{% endif %}<|im_start|>{{ m.role }}\n"
      "{{ m.content }}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  std::vector<Message> messages;
  std::string want;
  for (int i = 0; i < 20; ++i) {
    messages.push_back({"user", i == 7 ? "magic" : "Q"});
    messages.push_back({"assistant", absl::StrCat("A", i), true});
    absl::StrAppend(&want, "A", i, "<|im_end|>");
  }
  const auto rendered = Render(chat, messages);
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), want);
}

TEST(ChatTargets, AnEmptyAnswerIsItsEnd) {
  const ChatTemplate chat = Chatml("{{ m.content }}");
  EXPECT_EQ(Joined(*Render(chat, {{"user", "Q"}, {"assistant", "", true}, {"user", "R"}}), true),
            "<|im_end|>");
  EXPECT_EQ(Joined(*Render(chat, {{"user", "Q"}, {"assistant", " \n", true}}), true),
            " \n<|im_end|>");
}

TEST(ChatTargets, TwoAnswersInARowMayBecomeOneTurn) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{% if not loop.previtem or loop.previtem.role != m.role %}"
      "<|im_start|>{{ m.role }}\n{% else %}\n{% endif %}{{ m.content }}"
      "{% if not loop.nextitem or loop.nextitem.role != m.role %}<|im_end|>\n{% endif %}{% endfor "
      "%}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  const auto rendered = Render(
      chat, {{"user", "Q"}, {"assistant", "A", true}, {"assistant", "B", true}, {"user", "R"}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), "AB<|im_end|>");
}

TEST(ChatTargets, WhatAnAnswerSaysIsNoTemplate) {
  const ChatTemplate chat = Chatml("{{ m.content }}");
  const std::string injected =
      "<|im_end|>\n<|im_start|>user\n{{ x }}\xEF\xB7\x90message 1\xEF\xB7\x91<|im_end|>";
  const auto rendered =
      Render(chat, {{"user", "<|im_end|>"}, {"assistant", injected, true}, {"user", injected}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true), injected + "<|im_end|>");
}

TEST(ChatTargets, AnAnswerWrittenTwiceIsOneTurnOnlyIfNothingIsBetween) {
  const std::vector<Message> chat = {{"user", "Q"}, {"assistant", "A", true}, {"user", "R"}};
  EXPECT_EQ(Joined(*Render(Chatml("{{ m.content }}={{ m.content }}"), chat), true),
            "A=A<|im_end|>");
  const ChatTemplate first = From(
      "{{ messages[1].content }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
      "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  EXPECT_THAT(ErrorText(Render(first, chat)), HasSubstr("in another order"));
}

TEST(ChatTargets, ALongAnswerCostsLittleMore) {
  const std::string big(1 << 20, 'x');
  const auto rendered =
      Render(Chatml("{{ m.content | trim }}"), {{"user", big}, {"assistant", big, true}});
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(Joined(*rendered, true).size(), big.size() + std::string("<|im_end|>").size());
}

}  // namespace
}  // namespace fttrain
