#include "data/chat/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/golden.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::HasSubstr;

std::vector<Message> MessagesOf(const nlohmann::json& list) {
  std::vector<Message> out;
  for (const auto& m : list) out.push_back({m["role"], m["content"], m["role"] == "assistant"});
  return out;
}

std::string Joined(const std::vector<ChatSegment>& segments, bool targets_only = false) {
  std::string out;
  for (const ChatSegment& s : segments) {
    if (s.target || !targets_only) out += s.text;
  }
  return out;
}

ChatTemplate Recognised(const std::string& jinja) {
  auto chat = ChatTemplate::FromText(jinja, "<BOS>");
  EXPECT_TRUE(chat.ok()) << chat.status();
  return *std::move(chat);
}

TEST(ChatTemplate, RendersWhatJinjaRenders) {
  int cases = 0;
  for (const auto& golden : GoldenJson("chats.json")) {
    const ChatTemplate chat = Recognised(golden["template"]);
    for (const auto& one : golden["cases"]) {
      const auto messages = MessagesOf(one["messages"]);
      const auto segments = chat.Render(messages).value();
      EXPECT_EQ(Joined(segments), one["rendered"]) << golden["name"];
      EXPECT_EQ(*chat.RenderPrompt(messages), one["prompt"]) << golden["name"];
      ++cases;
    }
  }
  EXPECT_EQ(cases, 12);
}

TEST(ChatTemplate, TargetsAreTheAnswersAndTheirEndTokens) {
  const std::vector<Message> messages = {
      {"user", "Q1"}, {"assistant", "A1", true}, {"user", "Q2"}, {"assistant", "A2", true}};
  const char* want[][2] = {{"chatml_plain", "A1<|im_end|>A2<|im_end|>"},
                           {"llama3", "A1<|eot_id|>A2<|eot_id|>"},
                           {"gemma", "A1<end_of_turn>A2<end_of_turn>"}};
  for (const auto& golden : GoldenJson("chats.json")) {
    for (const auto& [name, targets] : want) {
      if (golden["name"] != name) continue;
      EXPECT_EQ(Joined(*Recognised(golden["template"]).Render(messages), true), targets);
    }
  }
}

TEST(ChatTemplate, OnlyTurnsMarkedForItAreLearnt) {
  const ChatTemplate chat = Recognised(GoldenJson("chats.json")[1]["template"]);
  const auto segments = chat.Render(std::vector<Message>{
      {"user", "Q"}, {"assistant", "old", false}, {"user", "Q"}, {"assistant", "new", true}});
  EXPECT_EQ(Joined(*segments, true), "new<|im_end|>");
}

TEST(ChatTemplate, WithKnowledgeDatesWritesThemBeforeTheSystemMessage) {
  const ChatTemplate chat = Recognised(
      "{{ bos_token }}{{ '<|start_header_id|>system<|end_header_id|>\\n\\n' }}{{ 'Cutting "
      "Knowledge Date: December 2023\\n' }}"
      "{{ message['content'] | trim }}<|eot_id|>");
  EXPECT_EQ(chat.name(), "llama3.1");
  const std::string dates =
      "<BOS><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December "
      "2023\nToday Date: 26 Jul 2024\n\n";
  EXPECT_EQ(*chat.RenderPrompt(std::vector<Message>{{"user", "Q"}}),
            dates +
                "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_THAT(Joined(*chat.Render(std::vector<Message>{{"system", " S "}, {"user", "Q"}})),
              HasSubstr(dates + "S<|eot_id|>"));
}

TEST(ChatTemplate, UnknownTemplatesAreRefusedWithWhatToSet) {
  for (const char* jinja :
       {"", "[INST] {{ content }} [/INST]", "<|im_start|><|start_header_id|>",
        "<|im_start|>{{ x }}<|im_end|>", "<|im_start|>assistant\n<think>\n<|im_end|>\n",
        "<|start_header_id|>{{ x }}<|end_header_id|>\n",
        "<|im_start|>system\nA<|im_end|>\n<|im_start|>system\nB<|im_end|>\n"}) {
    const auto chat = ChatTemplate::FromText(jinja, "");
    EXPECT_THAT(ErrorText(chat), HasSubstr("set data.chat_template to one of chatml"));
  }
}

TEST(ChatTemplate, RefusesRolesItCannotPlace) {
  const auto golden = GoldenJson("chats.json");
  const ChatTemplate chatml = Recognised(golden[1]["template"]),
                     gemma = Recognised(golden[3]["template"]);
  EXPECT_FALSE(chatml.Render(std::vector<Message>{}).ok());
  EXPECT_FALSE(chatml.Render(std::vector<Message>{{"tool", "x"}}).ok());
  EXPECT_FALSE(chatml.Render(std::vector<Message>{{"user", "x"}, {"system", "y"}}).ok());
  EXPECT_FALSE(gemma.Render(std::vector<Message>{{"user", "x"}, {"user", "y"}}).ok());
  EXPECT_FALSE(gemma.Render(std::vector<Message>{{"assistant", "x"}}).ok());
}

TEST(ChatTemplate, NamedRenderersNeedTheirTokens) {
  const auto with = GoldenTokenizer("llama3"), without = GoldenTokenizer("gpt2");
  EXPECT_TRUE(ChatTemplate::Create(ChatForm::kLlama3, "", *with).ok());
  const auto missing = ChatTemplate::Create(ChatForm::kChatml, "", *without);
  EXPECT_THAT(ErrorText(missing), HasSubstr("<|im_end|>"));
  EXPECT_FALSE(ChatTemplate::Create(ChatForm::kAuto, "/nonexistent", *with).ok());
}

}  // namespace
}  // namespace fttrain
