#include "data/chat/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/chat/chat_test.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::HasSubstr;

std::vector<Message> MessagesOf(const nlohmann::json& list) {
  std::vector<Message> out;
  for (const auto& m : list) out.push_back({m["role"], m["content"], m["role"] == "assistant"});
  return out;
}

// A golden tokenizer that has the template's tokens; Gemma's is given them.
std::unique_ptr<Tokenizer> TokenizerOf(const std::string& name) {
  if (name == "llama3") return GoldenTokenizer("llama3", R"({"bos_token": "<|begin_of_text|>"})");
  if (name != "gemma") return GoldenTokenizer("smollm2");
  return TokenizerWith("gemma", {"<start_of_turn>", "<end_of_turn>"}, R"({"bos_token": "<s>"})");
}

ChatTemplate From(const std::string& jinja, const std::string& name = "chatml",
                  const std::string& bos = "<BOS>") {
  auto chat = ChatTemplate::FromText(jinja, "test", {{"bos_token", bos}}, *TokenizerOf(name));
  EXPECT_TRUE(chat.ok()) << chat.status();
  return *std::move(chat);
}

const std::vector<Message> kTwoTurns = {
    {"user", "Q1"}, {"assistant", "A1", true}, {"user", "Q2"}, {"assistant", "A2", true}};

TEST(ChatTemplate, RendersWhatJinjaRenders) {
  int cases = 0;
  for (const auto& golden : GoldenJson("chats.json")) {
    const ChatTemplate chat = From(golden["template"], golden["name"]);
    for (const auto& one : golden["cases"]) {
      const auto messages = MessagesOf(one["messages"]);
      const auto segments = Render(chat, messages).value();
      EXPECT_EQ(Joined(segments), one["rendered"]) << golden["name"];
      EXPECT_EQ(*Prompt(chat, messages), one["prompt"]) << golden["name"];
      ++cases;
    }
  }
  EXPECT_EQ(cases, 12);
}

TEST(ChatTemplate, TargetsAreTheAnswersAndTheirEndTokens) {
  const char* want[][2] = {{"chatml_plain", "A1<|im_end|>A2<|im_end|>"},
                           {"llama3", "A1<|eot_id|>A2<|eot_id|>"},
                           {"gemma", "A1<end_of_turn>A2<end_of_turn>"}};
  for (const auto& golden : GoldenJson("chats.json")) {
    for (const auto& [name, targets] : want) {
      if (golden["name"] != name) continue;
      const ChatTemplate chat = From(golden["template"], name);
      EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), targets);
    }
  }
}

TEST(ChatTemplate, OnlyTurnsMarkedForItAreLearnt) {
  const ChatTemplate chat = From(GoldenJson("chats.json")[1]["template"]);
  const auto segments = Render(
      chat,
      {{"user", "Q"}, {"assistant", "old", false}, {"user", "Q"}, {"assistant", "new", true}});
  EXPECT_EQ(Joined(*segments, true), "new<|im_end|>");
}

TEST(ChatTemplate, GenerationBlocksSayWhatIsLearnt) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}"
      "{{ m.content }}.{% endgeneration %}{% else %}{{ m.content }}{% endif %};{% endfor %}");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "A1.A2.");
  EXPECT_TRUE(chat.Notes().empty());  // it says what is learnt
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns)), "user: Q1;assistant: A1.;user: Q2;assistant: A2.;");
}

// As reasoning models' templates do: only the last answer keeps what it thought.
TEST(ChatTemplate, ATurnThatLaterTurnsRewriteIsLearntAsItIsWritten) {
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n"
      "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}"
      "{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  const auto segments = Render(chat, {{"user", "Q1"},
                                      {"assistant", "<think>x</think>A1", true},
                                      {"user", "Q2"},
                                      {"assistant", "<think>y</think>A2", true}});
  ASSERT_TRUE(segments.ok()) << segments.status();
  EXPECT_EQ(Joined(*segments, true), "A1<|im_end|><think>y</think>A2<|im_end|>");
}

// What the header of a prompt opens by itself is not the answer's.
TEST(ChatTemplate, AnAnswerBeginsBehindWhatThePromptWrites) {
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' "
      "%}<think>\n\n</think>\n\n"
      "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
      "<|im_start|>assistant\n{% endif %}");
  EXPECT_EQ(Joined(*Render(chat, {{"user", "Q"}, {"assistant", "A", true}}), true),
            "<think>\n\n</think>\n\nA<|im_end|>");
}

// A template that takes lists of parts writes nothing of a text: the answer would be its end token.
TEST(ChatTemplate, AnAnswerThatTheTemplateLeavesOutIsAnError) {
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content if part.text %}"
      "{{ part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  EXPECT_THAT(ErrorText(Render(chat, kTwoTurns)), HasSubstr("message 1: its answer is not found"));
}

TEST(ChatTemplate, AnAnswerThatIsNotInItsGenerationBlockIsAnError) {
  const std::string parts = "{% for part in m.content if part.text %}{{ part.text }}{% endfor %}";
  const auto of = [](const std::string& in, const std::string& behind) {
    return From(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
        "{% generation %}" +
        in + "<|im_end|>{% endgeneration %}" + behind +
        "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}");
  };
  EXPECT_EQ(Joined(*Render(of("{{ m.content }}", ""), kTwoTurns), true),
            "A1<|im_end|>A2<|im_end|>");
  for (const char* answer : {"A1", "end", "an answer of more than a few words"}) {
    const std::vector<Message> chat = {{"user", "Q"}, {"assistant", answer, true}};
    EXPECT_THAT(ErrorText(Render(of(parts, ""), chat)), HasSubstr("message 1: its answer is not"));
    EXPECT_THAT(
        ErrorText(Render(of("", "{{ m.content }}"), chat)),
        HasSubstr("message 1: its answer, or a part of it, is in no {% generation %} block"));
  }
}

// Text that the template's own words have by chance is no sign of the answer.
TEST(ChatTemplate, AShortAnswerIsNotFoundInItsEndToken) {
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'user' %}{{ m.content }}"
      "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
      "{% endif %}");
  EXPECT_THAT(ErrorText(Render(chat, {{"user", "Q"}, {"assistant", "end", true}})),
              HasSubstr("message 1: its answer is not found"));
}

TEST(ChatTemplate, AMessageThatTheTemplateLeavesOutIsAnError) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{% if m.role in ['user', 'assistant'] or loop.first and "
      "m.content != 'drop this system message' %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}"
      "<|im_end|>\n{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  const auto with = [&](const Message& first, const Message& later) {
    return Render(chat,
                  {first, {"user", "Q"}, later, {"assistant", "an answer of some length", true}});
  };
  const Message empty = {"user", " "};
  EXPECT_TRUE(with({"system", " S\n"}, empty).ok());
  EXPECT_THAT(ErrorText(with({"system", "S"}, {"system", "Q"})),
              HasSubstr("message 2 (system): chat template test leaves it out: take it out of the "
                        "row, or set data.chat_template"));
  EXPECT_THAT(ErrorText(with({"user", "a"}, {"tool", "what a tool has told the model"})),
              HasSubstr("message 2 (tool): chat template test leaves it out"));
}

// The older ChatML, and Llama 2's, whose answers have a space and no header before them.
TEST(ChatTemplate, WithoutAGenerationPromptTheHeaderIsNotLearnt) {
  const ChatTemplate chatml = From(
      "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
      "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}");
  EXPECT_EQ(Joined(*Render(chatml, kTwoTurns), true), "A1<|im_end|>A2<|im_end|>");
  const std::vector<Message> longer = {{"user", "Q1"},
                                       {"assistant", "the assistant's words", true}};
  EXPECT_EQ(Joined(*Render(chatml, longer), true), "the assistant's words<|im_end|>");
  const ChatTemplate llama2 = From(
      "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
      "{% else %} {{ m.content }}<|im_end|>{% endif %}{% endfor %}");
  EXPECT_EQ(Joined(*Render(llama2, kTwoTurns), true), " A1<|im_end|> A2<|im_end|>");
  const ChatTemplate named = From(
      "{% for m in messages %}{{ '\nAssistant: ' if m.role == 'assistant' else '\nUser: ' }}"
      "{{ m.content }}<|im_end|>{% endfor %}");
  EXPECT_EQ(Joined(*Render(named, kTwoTurns), true), "A1<|im_end|>A2<|im_end|>");
}

// The header that stands there whether it is asked for or not is what an answer begins behind.
TEST(ChatTemplate, APromptMayAlwaysBeWritten) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant:<answer>"
      "{{ m.content }}<|im_end|>{% else %}<|im_start|>user:{{ m.content }}<|im_end|>{% endif %}"
      "{% endfor %}<|im_start|>assistant:");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "<answer>A1<|im_end|><answer>A2<|im_end|>");
}

TEST(ChatTemplate, ALastTurnThatIsLeftOpenHasNoEnd) {
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
      "{% if (loop.last and add_generation_prompt) or not loop.last %}<|im_end|>\n{% endif %}"
      "{% endfor %}{% if add_generation_prompt and messages[-1].role != 'assistant' %}"
      "<|im_start|>assistant\n{% endif %}");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "A1<|im_end|>A2");
  EXPECT_EQ(chat.end_of_turn(), "<|im_end|>");
  ASSERT_EQ(chat.Notes().size(), 1);
  EXPECT_THAT(chat.Notes()[0], HasSubstr("writes no token behind the last turn"));
}

// As gpt-oss's: one token ends the conversation, another a turn.
TEST(ChatTemplate, EachTurnIsLearntWithTheTokenThatEndsIt) {
  const std::string last = "(loop.last and not add_generation_prompt)";
  const ChatTemplate chat = From(
      "{% for m in messages %}<|im_start|>{{ m.role }}{% if m.role == 'assistant' %}"
      "{{ m.content }}{{ '<|endoftext|>' if " +
      last +
      " else '<|im_end|>' }}{% else %}"
      "{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "A1<|im_end|>A2<|endoftext|>");
  EXPECT_EQ(chat.end_of_turn(), "<|endoftext|>");
  EXPECT_TRUE(chat.Notes().empty());
}

// The token behind an answer may be the next turn's.
TEST(ChatTemplate, TheNextTurnsHeaderIsNoEnd) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{{ '<|im_start|>' if m.role == 'user' else '<|endoftext|>' }}\n"
      "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|endoftext|>\n{% endif %}");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "A1A2");
  EXPECT_EQ(chat.end_of_turn(), "");
  ASSERT_EQ(chat.Notes().size(), 1);
  EXPECT_THAT(chat.Notes()[0], HasSubstr("ends no turn with a token"));
}

TEST(ChatTemplate, AnEndThatIsNoTokenOfTheTokenizerIsRefused) {
  const std::string text = GoldenJson("chats.json")[1]["template"];
  EXPECT_THAT(ErrorText(ChatTemplate::FromText(text, "test", {}, *GoldenTokenizer("gpt2"))),
              HasSubstr("ends a turn with <|im_end|>, which the tokenizer does not have"));
}

TEST(ChatTemplate, AnAddedTokenThatIsNotSpecialEndsATurn) {
  nlohmann::json file = GoldenJson("smollm2.tokenizer.json");
  for (nlohmann::json& token : file["added_tokens"]) {
    if (token["content"] == "<|im_end|>") token["special"] = false;
  }
  const auto tokenizer = *Tokenizer::FromJson(file.dump(), "", "plain");
  const auto chat = *ChatTemplate::FromText(std::string(GoldenJson("chats.json")[1]["template"]),
                                            "test", {}, *tokenizer);
  EXPECT_EQ(chat.end_of_turn(), "<|im_end|>");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "A1<|im_end|>A2<|im_end|>");
}

// The end of the conversation is no part of its last turn.
TEST(ChatTemplate, WhatFollowsTheEndOfTheLastTurnIsNotLearnt) {
  const ChatTemplate chat = From(
      "{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>\n{% endfor %}"
      "{{ 'assistant:' if add_generation_prompt else '<|endoftext|>' }}");
  EXPECT_EQ(Joined(*Render(chat, kTwoTurns), true), "A1<|im_end|>A2<|im_end|>");
}

TEST(ChatTemplate, AConversationMayBeginWithTheAssistant) {
  const ChatTemplate chat = From(GoldenJson("chats.json")[1]["template"]);
  const auto segments = Render(chat, {{"assistant", "Hi", true}, {"user", "Q"}});
  EXPECT_EQ(Joined(*segments, true), "Hi<|im_end|>");
}

TEST(ChatTemplate, AnAnswerThatIsNotInTheTextIsAnError) {
  const ChatTemplate chat = From("{% for m in messages %}{{ m.role }}{% endfor %}");
  const auto silent = Render(chat, {{"assistant", "A", true}});
  EXPECT_THAT(ErrorText(silent), HasSubstr("message 0: its answer is not found"));
}

TEST(ChatTemplate, TheEndOfATurnIsTheTokenBehindTheAnswer) {
  for (const auto& golden : GoldenJson("chats.json")) {
    const std::string name = golden["name"];
    const ChatTemplate chat = From(golden["template"], name);
    EXPECT_EQ(chat.end_of_turn(), name == "llama3"  ? "<|eot_id|>"
                                  : name == "gemma" ? "<end_of_turn>"
                                                    : "<|im_end|>");
  }
  EXPECT_EQ(From("{% for m in messages %}{{ m.content }}\n{% endfor %}").end_of_turn(), "");
}

TEST(ChatTemplate, WithKnowledgeDatesWritesThemBeforeTheSystemMessage) {
  const ChatTemplate chat = *ChatTemplate::Create({"llama3.1"}, "", *TokenizerOf("llama3"));
  EXPECT_EQ(chat.name(), "llama3.1");
  const std::string dates =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
      "December 2023\nToday Date: 26 Jul 2024\n\n";
  EXPECT_EQ(*Prompt(chat, {{"user", "Q"}}),
            dates +
                "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
                "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_THAT(Joined(*Render(chat, {{"system", " S "}, {"user", "Q"}})),
              HasSubstr(dates + "S<|eot_id|>"));
}

TEST(ChatTemplate, TheProjectsOwnAreThoseThatGoldenCheckpointsHave) {
  const std::pair<const char*, const char*> forms[] = {
      {"chatml", "chatml_plain"}, {"llama3", "llama3"}, {"gemma", "gemma"}};
  for (const auto& [form, name] : forms) {
    for (const auto& golden : GoldenJson("chats.json")) {
      if (golden["name"] != name) continue;
      const auto tokenizer = TokenizerOf(name);
      const auto chat = ChatTemplate::Create({form}, "", *tokenizer);
      ASSERT_TRUE(chat.ok()) << chat.status();
      const auto with_bos = From(golden["template"], name, tokenizer->BosToken());
      for (const auto& one : golden["cases"]) {
        const auto messages = MessagesOf(one["messages"]);
        EXPECT_EQ(Joined(*Render(*chat, messages)), Joined(*Render(with_bos, messages))) << name;
        EXPECT_EQ(Joined(*Render(*chat, messages), true),
                  Joined(*Render(with_bos, messages), true));
      }
    }
  }
}

TEST(ChatTemplate, ABrokenTemplateIsRefusedWithItsLineAndWhatToSet) {
  const auto chat = ChatTemplate::FromText("a\n{% for %}", "of x", {}, *GoldenTokenizer("smollm2"));
  EXPECT_THAT(ErrorText(chat), HasSubstr("chat template of x: line 2: "));
  EXPECT_THAT(ErrorText(chat),
              HasSubstr("set data.chat_template to one of alpaca, chatml, deepseek, gemma"));
}

TEST(ChatTemplate, WhatTheTemplateRefusesIsSaidInItsWords) {
  const ChatTemplate own = From("{{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(ErrorText(Render(own, kTwoTurns)), "roles must alternate");
  const auto chatml = *ChatTemplate::Create({"chatml"}, "", *GoldenTokenizer("smollm2"));
  const auto gemma = *ChatTemplate::Create({"gemma"}, "", *TokenizerOf("gemma"));
  EXPECT_FALSE(Render(chatml, {}).ok());
  EXPECT_EQ(ErrorText(Render(chatml, {{"tool", "x"}})),
            "message 0: role 'tool' is none of system, user, assistant");
  EXPECT_FALSE(Render(gemma, {{"user", "x"}, {"system", "y"}}).ok());
  EXPECT_FALSE(Render(gemma, {{"user", "x"}, {"user", "y"}}).ok());
  EXPECT_FALSE(Render(gemma, {{"assistant", "x"}}).ok());
}

TEST(ChatTemplate, NamedRenderersNeedTheirTokens) {
  const auto with = GoldenTokenizer("llama3"), without = GoldenTokenizer("gpt2");
  EXPECT_TRUE(ChatTemplate::Create({"llama3"}, "", *with).ok());
  const auto missing = ChatTemplate::Create({"chatml"}, "", *without);
  EXPECT_THAT(ErrorText(missing), HasSubstr("<|im_end|>"));
  EXPECT_FALSE(ChatTemplate::Create({}, "/nonexistent", *with).ok());
}

}  // namespace
}  // namespace fttrain
