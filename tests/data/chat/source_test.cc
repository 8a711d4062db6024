// Which template is taken, the date it is told, and what the built-in ones write.
#include "data/chat/source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/chat/chat_test.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// What `name` makes of a question in the folder; `tools`: a tool is given, too.
std::string PromptOf(const TempFolder& folder, const std::string& name, bool tools = false) {
  const auto chat = ChatTemplate::Create({name}, folder.path(), *GoldenTokenizer("smollm2"));
  if (!chat.ok()) return ErrorText(chat);
  Conversation conversation{{{"user", "Q"}}};
  if (tools) conversation.tools.push_back(jinja::Value::String("clock"));
  return *chat->RenderPrompt(conversation);
}

TEST(ChatSource, TheFoldersOwnIsLookedForAsTransformersDoes) {
  const TempFolder folder;
  EXPECT_THAT(PromptOf(folder, "auto"), HasSubstr("set data.chat_template to one of"));
  folder.Write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(PromptOf(folder, "auto"), "processor");
  folder.Write("tokenizer_config.json", R"({"chat_template": [
      {"name": "tool_use", "template": "tools"},
      {"name": "default", "template": "named{{ pad_token }}"}],
      "pad_token": {"content": "<P>"}})");
  EXPECT_EQ(PromptOf(folder, "auto"), "named<P>");
  EXPECT_EQ(PromptOf(folder, "auto", true), "tools");
  EXPECT_EQ(PromptOf(folder, "tool_use"), "tools");
  folder.Write("chat_template.jinja", "file{{ messages[0].content }}{{ tools }}");
  EXPECT_EQ(PromptOf(folder, "auto"), "fileQNone");
  EXPECT_EQ(PromptOf(folder, "auto", true), "fileQ['clock']");
  EXPECT_THAT(PromptOf(folder, "tool_use"), HasSubstr("there is no chat template tool_use"));
  std::filesystem::create_directory(folder / "additional_chat_templates");
  folder.Write("additional_chat_templates/tool_use.jinja", "more");
  folder.Write("additional_chat_templates/rag.jinja", "rag");
  EXPECT_EQ(PromptOf(folder, "auto"), "fileQNone");
  EXPECT_EQ(PromptOf(folder, "auto", true), "more");
  EXPECT_EQ(PromptOf(folder, "rag"), "rag");
  EXPECT_THAT(PromptOf(folder, "nono"),
              AllOf(HasSubstr("qwen3"), HasSubstr("default, rag, tool_use")));
}

TEST(ChatSource, ATemplateIsShownTheTokensThatTransformersShowsIt) {
  const TempFolder folder;
  folder.Write("chat_template.jinja", "{{ pad_token }}|{{ unk_token }}|{{ sep_token }}");
  folder.Write("special_tokens_map.json",
               R"({"pad_token": "<B>", "unk_token": null, "sep_token": {"content": "<S>"}})");
  EXPECT_EQ(PromptOf(folder, "auto"), "<B>||<S>");
  folder.Write("tokenizer_config.json", R"({"pad_token": "<A>", "unk_token": "<U>"})");
  EXPECT_EQ(PromptOf(folder, "auto"), "<B>||<S>");
  folder.Write("tokenizer_config.json",
               R"({"pad_token": "<A>", "unk_token": "<U>", "added_tokens_decoder": {}})");
  EXPECT_EQ(PromptOf(folder, "auto"), "<A>|<U>|");
}

TEST(ChatSource, WithoutADefaultOneMustBeNamed) {
  const TempFolder folder;
  folder.Write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "a", "template": "A"}, {"name": "b", "template": "B"}]})");
  EXPECT_THAT(PromptOf(folder, "auto"),
              HasSubstr("none is called default: set data.chat_template to one of a, b"));
  EXPECT_EQ(PromptOf(folder, "b"), "B");
}

TEST(ChatSource, APathThatEndsInJinjaIsATemplate) {
  const TempFolder folder;
  EXPECT_EQ(PromptOf(folder, folder.Write("mine.jinja", "mine")), "mine");
  EXPECT_THAT(PromptOf(folder, folder / "not.jinja"),
              AllOf(HasSubstr("data.chat_template: "), HasSubstr("not.jinja")));
}

TEST(ChatSource, AFoldersTemplateIsBeforeABuiltInOneOfItsName) {
  const TempFolder folder;
  folder.Write("tokenizer_config.json",
               R"({"chat_template": [{"name": "chatml", "template": "own<|im_end|>"}]})");
  const auto chat = *ChatTemplate::Create({"chatml"}, folder.path(), *GoldenTokenizer("smollm2"));
  EXPECT_EQ(*Prompt(chat, {{"user", "Q"}}), "own<|im_end|>");
  EXPECT_THAT(chat.Notes(),
              testing::Contains(HasSubstr("chat template chatml is the checkpoint's own")));
}

TEST(ChatSource, ABuiltInOneThatDiffersFromTheFoldersIsShownBesideIt) {
  const TempFolder folder;
  const auto notes = [&](const std::string& own) {
    folder.Write("chat_template.jinja", own);
    return ChatTemplate::Create({"chatml"}, folder.path(), *GoldenTokenizer("smollm2"))->Notes();
  };
  EXPECT_THAT(notes(std::string(BuiltinChatTemplates().at("chatml")) + "{# same #}"), IsEmpty());
  EXPECT_THAT(notes("{% for m in messages %}<{{ m.content }}>{% endfor %}<|im_end|>"),
              testing::ElementsAre(
                  "chat template chatml writes\n  <|im_start|>user\\nHello<|im_end|>\\n"
                  "<|im_start|>assistant\\nHi!<|im_end|>\\n\nwhere the checkpoint's own (auto) "
                  "writes\n  <Hello><Hi!><|im_end|>"));
}

TEST(ChatSource, TheDateIsOneDayInEveryRun) {
  const auto tokenizer = GoldenTokenizer("smollm2");
  const std::string text =
      "{{ strftime_now('%Y/%m/%d %a %j') }}{{ messages[0].content }}<|im_end|>";
  const auto chat = *ChatTemplate::FromText(text, "dated", {}, *tokenizer, "2026-03-01");
  EXPECT_EQ(*Prompt(chat, {{"user", "Q"}}), "2026/03/01 Sun 060Q<|im_end|>");
  EXPECT_THAT(
      chat.Notes(),
      testing::Contains(
          "chat template dated asks for today's date: 01 Mar 2026 in every row (data.date)"));
  const auto maybe = *ChatTemplate::FromText(
      "{% if tools %}{{ strftime_now('%d') }}{% endif %}{{ messages[0].content }}<|im_end|>", "x",
      {}, *tokenizer);
  EXPECT_THAT(
      maybe.Notes(),
      testing::Contains(
          "chat template x may ask for today's date: 26 Jul 2024 in every row (data.date)"));
  for (const char* wrong :
       {"2024-02-30", "2024-7-26", "26 Jul 2024", "", "2024-07-26x", "2023-02-29", "2024-13-01"}) {
    EXPECT_THAT(ErrorText(ChatTemplate::FromText(text, "dated", {}, *tokenizer, wrong)),
                HasSubstr("is no day: write it as YYYY-MM-DD"))
        << wrong;
  }
}

TEST(ChatSource, NamedRenderersNeedTheirTokens) {
  const auto with = GoldenTokenizer("llama3"), without = GoldenTokenizer("gpt2");
  EXPECT_TRUE(ChatTemplate::Create({"llama3"}, "", *with).ok());
  EXPECT_THAT(ErrorText(ChatTemplate::Create({"chatml"}, "", *without)), HasSubstr("<|im_end|>"));
  EXPECT_FALSE(ChatTemplate::Create({}, "/nonexistent", *with).ok());
  for (const auto& [name, text] : BuiltinChatTemplates()) {
    for (const std::string_view token : BuiltinChatTokens(name)) {
      EXPECT_THAT(std::string(text), testing::AnyOf(HasSubstr(std::string(token)),
                                                    HasSubstr("'<|' ~ message['role']")));
    }
  }
}

// The system message, a question, an answer, another of each, and the prompt that follows.
TEST(ChatSource, BuiltInOnesWriteWhatTheirFamiliesDo) {
  const std::map<std::string, std::string> want = {
      {"alpaca",
       "<BOS>S\n\n### Instruction:\nQ1\n\n### Response:\n[A1<EOS>]\n\n### Instruction:\nQ2\n\n### "
       "Response:\n[A2<EOS>]"},
      {"deepseek",
       "<BOS>S<\uff5cUser\uff5c>Q1<\uff5cAssistant\uff5c>[A1<\uff5cend\u2581of\u2581sentence\uff5c>"
       "]"
       "<\uff5cUser\uff5c>Q2<\uff5cAssistant\uff5c>[A2<\uff5cend\u2581of\u2581sentence\uff5c>]"},
      {"glm4",
       "[gMASK]<sop><|system|>\nS<|user|>\nQ1<|assistant|>\n[A1<|user|>]\nQ2<|assistant|>\n"
       "[A2<|user|>]"},
      {"llama2",
       "<BOS>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ1 [/INST][ A1 <EOS>]<BOS>[INST] Q2 [/INST][ A2 "
       "<EOS>]"},
      {"mistral-v1", "<BOS> [INST] S\n\nQ1 [/INST][ A1<EOS>] [INST] Q2 [/INST][ A2<EOS>]"},
      {"mistral-v3", "<BOS>[INST] Q1[/INST][ A1<EOS>][INST] S\n\nQ2[/INST][ A2<EOS>]"},
      {"mistral-tekken", "<BOS>[INST]Q1[/INST][A1<EOS>][INST]S\n\nQ2[/INST][A2<EOS>]"},
      {"phi3",
       "<|system|>\nS<|end|>\n<|user|>\nQ1<|end|>\n<|assistant|>\n[A1<|end|>]\n<|user|>\nQ2<|end|>"
       "\n<|assistant|>\n[A2<|end|>]\n<EOS>"},
      {"phi4",
       "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>Q1<|im_end|><|im_start|>"
       "assistant<|im_sep|>[A1<|im_end|>]"
       "<|im_start|>user<|im_sep|>Q2<|im_end|><|im_start|>assistant<|im_sep|>[A2<|im_end|>]"},
      {"qwen2.5",
       "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n["
       "A1<|im_end|>]\n"
       "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n[A2<|im_end|>]\n"},
      {"qwen3",
       "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n["
       "A1<|im_end|>]\n"
       "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n[<think>\n\n</"
       "think>\n\nA2<|im_end|>]\n"},
      {"zephyr",
       "<|system|>\nS<EOS>\n<|user|>\nQ1<EOS>\n<|assistant|>\n[A1<EOS>]\n<|user|>\nQ2<EOS>\n<|"
       "assistant|>\n[A2<EOS>]\n"},
  };
  for (const auto& [name, text] : want) {
    std::vector<std::string> tokens = {"<BOS>", "<EOS>"};
    for (const std::string_view token : BuiltinChatTokens(name)) tokens.emplace_back(token);
    const auto tokenizer =
        TokenizerWith("gpt2", tokens, R"({"bos_token": "<BOS>", "eos_token": "<EOS>"})");
    const auto chat = ChatTemplate::Create({name}, "", *tokenizer);
    ASSERT_TRUE(chat.ok()) << chat.status();
    EXPECT_THAT(chat->Notes(), IsEmpty()) << name;
    const auto rendered = Render(*chat, {{"system", "S"},
                                         {"user", "Q1"},
                                         {"assistant", "A1", true},
                                         {"user", "Q2"},
                                         {"assistant", "A2", true}});
    ASSERT_TRUE(rendered.ok()) << name << rendered.status();
    std::string shown;
    for (const ChatSegment& segment : rendered->segments) {
      shown += segment.target ? "[" + segment.text + "]" : segment.text;
    }
    EXPECT_EQ(shown, text) << name;
  }
}

}  // namespace
}  // namespace fttrain
