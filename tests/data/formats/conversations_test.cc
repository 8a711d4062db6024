// Rows that are conversations, beside conversations written by hand.
#include "data/formats/conversations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/process/check.h"
#include "tests/data/formats/rows.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using enum RowFormat;

class Conversations : public testing::Test {
 protected:
  absl::StatusOr<RowConversation> Read(const std::string& row, RowFormat format) {
    notes_ = RowNotes();
    FT_ASSIGN_OR_RETURN(const KeyNames names, KeyNames::Create(fields_, format));
    const RowContext context{options_, names, &notes_};
    FT_ASSIGN_OR_RETURN(const RowJson json, ParseRowJson(row, "row"));
    const RowObject object(json, "row", KeyLevel::kRow, context);
    const RowForm form = FormOf(object, format);
    FT_RETURN_IF_ERROR(object.JudgeKeys(form, ""));
    return ConversationOf(object, form);
  }
  std::string Words(const std::string& row, RowFormat format) {
    const auto read = Read(row, format);
    return read.ok() ? InWords(read->conversation) : std::string(read.status().message());
  }

  std::map<std::string, std::string> fields_;
  DatasetOptions options_;
  RowNotes notes_;
};

TEST_F(Conversations, MessagesKeepTheirOrderAndLearnTheAssistantTurns) {
  const char* const turns =
      R"([{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
          {"role": "assistant", "content": "b"}, {"role": "system", "content": "T"},
          {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}])";
  const std::string want = "system: S\nuser: a\nassistant*: b\nsystem: T\nuser: c\nassistant*: d\n";
  EXPECT_EQ(Words(absl::StrCat(R"({"messages": )", turns, "}"), kMessages), want);
  EXPECT_EQ(Words(absl::StrCat(R"({"conversations": )", turns, "}"), kMessages), want);
  EXPECT_EQ(Words(absl::StrCat(R"({"messages": null, "conversations": )", turns, "}"), kMessages),
            want);
}

TEST_F(Conversations, LossIsSwitchedOffTurnByTurn) {
  const auto marked = [&](const std::string& mark) {
    return Words(R"({"messages": [{"role": "user", "content": "a", )" + mark +
                     R"(}, {"role": "assistant", "content": "b", )" + mark +
                     R"(}, {"role": "assistant", "content": "c"}]})",
                 kMessages);
  };
  for (const char* off : {R"("weight": 0)", R"("weight": 0.0)", R"("train": false)",
                          R"("loss": false)", R"("loss": 0)", R"("mask": 0)", R"("mask": false)",
                          R"("weight": 0, "train": false, "loss": null)"}) {
    EXPECT_EQ(marked(off), "user: a\nassistant: b\nassistant*: c\n") << off;
  }
  EXPECT_EQ(Words(R"({"messages": [{"role": "user", "content": "a", "weight": null}, {"role":
                      "assistant", "content": "b", "weight": 1.0, "train": true}]})",
                  kMessages),
            "user: a\nassistant*: b\n");
}

TEST_F(Conversations, PartsOfATextAreJoined) {
  EXPECT_EQ(Words(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Colour ",
                      "image_url": null}, {"text": "of it?", "type": "text", "cache": 1}]},
                      {"role": "assistant", "content": [{"type": "text", "text": "Red."}]}]})",
                  kMessages),
            "user: Colour of it?\nassistant*: Red.\n");
  EXPECT_THAT(notes_.unused, ElementsAre("messages[].content[].cache"));
}

TEST_F(Conversations, CallsHaveTheirArgumentsAsObjectsInTheirOwnOrder) {
  const std::string want =
      "user: a\n"
      R"(assistant*: none tool_calls=[{"id": "c1", "type": "function", "function": )"
      R"({"name": "wind", "arguments": {"z": 7, "buoy": 1.5}}}])"
      "\n"
      R"(tool: 12 tool_call_id="c1" name="wind")"
      "\nassistant*: Calm.\n";
  const auto with = [&](const std::string& call) {
    return Words(R"({"messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": null, "tool_calls": )" +
                     call + R"(}, {"role": "tool", "tool_call_id": "c1", "name": "wind",
        "content": "12"}, {"role": "assistant", "content": "Calm.", "tool_calls": []}]})",
                 kMessages);
  };
  EXPECT_EQ(with(R"([{"id": "c1", "type": "function", "function": {"name": "wind", "arguments":
                     "{\"z\": 7, \"buoy\": 1.5}"}}])"),
            want);
  EXPECT_EQ(with(R"([{"id": "c1", "type": "function", "index": null, "function": {"name": "wind",
                     "arguments": {"z": 7, "buoy": 1.5}, "strict": null}}])"),
            want);
  EXPECT_EQ(with(R"([{"name": "wind", "arguments": {"z": 7, "buoy": 1.5}, "id": "c1"}])"), want);
  EXPECT_EQ(
      with(
          R"("[{\"name\": \"wind\", \"id\": \"c1\", \"arguments\": \"{\\\"z\\\": 7, \\\"buoy\\\": 1.5}\"}]")"),
      want);
}

TEST_F(Conversations, CallsWithoutArgumentsHaveAnEmptyObject) {
  for (const char* none : {"", R"(, "arguments": null)", R"(, "arguments": "")",
                           R"(, "arguments": "{}")", R"(, "arguments": {})"}) {
    EXPECT_EQ(Words(absl::StrCat(R"({"messages": [{"role": "assistant", "content": "Now.",
                        "tool_calls": [{"type": "function", "function": {"name": "f")",
                                 none, R"(}, "index": 3}]}]})"),
                    kMessages),
              R"(assistant*: Now. tool_calls=[{"type": "function", "function": )"
              R"({"name": "f", "arguments": {}}}])"
              "\n");
    EXPECT_THAT(notes_.unused, ElementsAre("messages[].tool_calls[].index"));
  }
}

TEST_F(Conversations, ReasoningIsReadUnderItsOtherNames) {
  for (const char* name : {"reasoning_content", "reasoning", "thinking", "thought"}) {
    const auto read = Read(absl::StrCat(R"({"messages": [{"role": "user", "content": "a", ")", name,
                                        R"(": ""}, {"role": "assistant", ")", name,
                                        R"(": "hm", "content": "b", "name": "x"}]})"),
                           kMessages);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(InWords(read->conversation),
              "user: a\nassistant*: b reasoning_content=\"hm\" name=\"x\"\n");
    EXPECT_EQ(read->words.size(), std::string(name) == "reasoning_content" ? 0u : 1u);
  }
  EXPECT_EQ(Words(R"({"messages": [{"role": "assistant", "content": "b", "reasoning": "hm",
                      "reasoning_content": "hm", "thinking": null}]})",
                  kMessages),
            "assistant*: b reasoning_content=\"hm\"\n");
}

TEST_F(Conversations, ColumnsBesideTheTurnsBelongToTheConversation) {
  const std::string turns = R"("messages": [{"role": "user", "content": "a"},
                                            {"role": "assistant", "content": "b"}])";
  const std::string words = "user: a\nassistant*: b\n";
  EXPECT_EQ(Words(R"({"system": "S", )" + turns + "}", kMessages), "system: S\n" + words);
  for (const char* none : {"null", "\"\"", "[]", "\"[]\"", "{}", "\"null\""}) {
    EXPECT_EQ(Words(absl::StrCat("{", turns, R"(, "tools": )", none, R"(, "documents": )", none,
                                 R"(, "images": )", none, R"(, "functions": )", none, "}"),
                    kMessages),
              words)
        << none;
  }
  const std::string tool = R"({"type": "function", "function": {"name": "f", "parameters": {}}})";
  const std::string want = words + "tool " + tool + "\n";
  EXPECT_EQ(Words("{" + turns + R"(, "tools": [)" + tool + "]}", kMessages), want);
  const std::string text = RowJson(tool).dump(), list = RowJson("[" + tool + "]").dump();
  EXPECT_EQ(Words("{" + turns + R"(, "tools": [)" + text + "]}", kMessages), want);
  EXPECT_EQ(Words("{" + turns + R"(, "tools": )" + list + "}", kMessages), want);
  EXPECT_EQ(Words("{" + turns + R"(, "documents": [{"title": "t", "text": "x"}]})", kMessages),
            words + "document {\"title\": \"t\", \"text\": \"x\"}\n");
}

TEST_F(Conversations, ASystemColumnMayRepeatTheSystemTurn) {
  EXPECT_EQ(Words(R"({"system": "S", "messages": [{"role": "system", "content": "S"},
                      {"role": "user", "content": "a"}, {"role": "system", "content": "T"},
                      {"role": "assistant", "content": "b"}]})",
                  kMessages),
            "system: S\nuser: a\nsystem: T\nassistant*: b\n");
}

TEST_F(Conversations, WhatIsNotUsedIsCounted) {
  EXPECT_EQ(Words(R"({"id": 7, "source": "x", "empty": [], "prompt": "a", "label": null,
                      "messages": [{"role": "user", "content": "a", "id": 1, "ts": null},
                                   {"role": "assistant", "content": "b", "model": "m"}]})",
                  kMessages),
            "user: a\nassistant*: b\n");
  EXPECT_THAT(notes_.unused,
              ElementsAre("id", "messages[].id", "messages[].model", "prompt", "source"));
}

TEST_F(Conversations, ShareGptHasManyWordsForRoles) {
  for (const char* human : {"human", "user", "Human", "prompter"}) {
    for (const char* gpt :
         {"gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot", "GPT", "chatbot"}) {
      EXPECT_EQ(
          Words(absl::StrCat(R"({"conversations": [{"from": "system", "value": "S"},
                          {"from": ")",
                             human, R"(", "value": "a"}, {"from": ")", gpt,
                             R"(", "value": "b", "weight": 0}, {"from": ")", human,
                             R"(", "value": null}, {"from": ")", gpt, R"(", "value": "c"}]})"),
                kShareGpt),
          "system: S\nuser: a\nassistant: b\nuser: \nassistant*: c\n")
          << human << " " << gpt;
    }
  }
}

TEST_F(Conversations, ShareGptMayMixBothForms) {
  EXPECT_EQ(Words(R"({"conversations": [{"role": "user", "content": "a"}, {"from": "gpt", "role":
                      "assistant", "value": "b"}, {"from": "human", "content": "c", "value": null},
                      {"role": "gpt", "value": "d", "content": "d"}], "system": "S"})",
                  kShareGpt),
            "system: S\nuser: a\nassistant*: b\nuser: c\nassistant*: d\n");
  EXPECT_EQ(
      Words(R"({"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})",
            kShareGpt),
      "user: a\nassistant*: b\n");
}

TEST_F(Conversations, FunctionCallsBecomeToolCallsAndObservationsToolTurns) {
  const auto read = Read(R"({"tools": "[{\"name\": \"depth\"}]", "conversations": [
      {"from": "human", "value": "a"},
      {"from": "function_call", "value": "{\"name\": \"depth\", \"arguments\": {\"pier\": 4}}"},
      {"from": "function_call", "value": "[{\"name\": \"f\", \"arguments\": \"{}\"}]"},
      {"from": "observation", "value": "9"}, {"from": "function_response", "value": "{\"m\": 9}"},
      {"from": "gpt", "value": "b"},
      {"from": "tool_call", "value": "{\"name\": \"g\"}", "loss": false},
      {"from": "tool_response", "value": null}, {"from": "gpt", "value": "c"}]})",
                         kShareGpt);
  ASSERT_TRUE(read.ok()) << read.status();
  const auto call = [](const std::string& name, const std::string& arguments) {
    return R"({"type": "function", "function": {"name": ")" + name + R"(", "arguments": )" +
           arguments + "}}";
  };
  EXPECT_EQ(InWords(read->conversation),
            "user: a\nassistant*: none tool_calls=[" + call("depth", R"({"pier": 4})") + ", " +
                call("f", "{}") + "]\ntool: 9\ntool: {\"m\": 9}\nassistant*: b\n" +
                "assistant: none tool_calls=[" + call("g", "{}") +
                "]\ntool: \nassistant*: c\ntool {\"name\": \"depth\"}\n");
  EXPECT_THAT(read->words, ElementsAre("calls that follow each other count as one message",
                                       "tool_calls is what the row has as function_call"));
}

TEST_F(Conversations, FunctionCallsWithOtherLossStayApart) {
  EXPECT_EQ(Words(R"({"conversations": [
      {"from": "function_call", "value": "{\"name\": \"f\"}", "weight": 0},
      {"from": "function_call", "value": "{\"name\": \"g\"}"}]})",
                  kShareGpt),
            R"(assistant: none tool_calls=[{"type": "function", "function": {"name": "f", )"
            R"("arguments": {}}}])"
            "\n"
            R"(assistant*: none tool_calls=[{"type": "function", "function": {"name": "g", )"
            R"("arguments": {}}}])"
            "\n");
}

TEST_F(Conversations, ACompletionOfMessagesIsLearntAndItsPromptIsNot) {
  const char* const row = R"({"system": "S", "tools": [{"name": "f"}],
      "prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                 {"role": "user", "content": "c"}],
      "completion": [{"role": "assistant", "content": "d"}, {"role": "user", "content": "e"},
                     {"role": "assistant", "content": "f", "weight": 0}]})";
  EXPECT_EQ(Words(row, kPromptCompletion),
            "system: S\nuser: a\nassistant: b\nuser: c\nassistant*: d\nuser: e\nassistant: f\n"
            "tool {\"name\": \"f\"}\n");
  options_.train_on = TrainOn::kPrompt;
  EXPECT_EQ(Words(row, kPromptCompletion),
            "system: S\nuser: a\nassistant*: b\nuser: c\nassistant*: d\nuser: e\nassistant: f\n"
            "tool {\"name\": \"f\"}\n");
}

TEST_F(Conversations, AlpacaJoinsInstructionAndInput) {
  EXPECT_EQ(Words(R"({"instruction": "Add.", "input": "1 2", "output": "3", "system": "S",
                      "history": [["a", "b"]], "text": "all of it"})",
                  kAlpaca),
            "system: S\nuser: a\nassistant*: b\nuser: Add.\n1 2\nassistant*: 3\n");
  EXPECT_THAT(notes_.unused, ElementsAre("text"));
  EXPECT_EQ(Words(R"({"instruction": "Add.", "input": "", "output": "3", "history": []})", kAlpaca),
            "user: Add.\nassistant*: 3\n");
  EXPECT_EQ(Words(R"({"instruction": "", "input": "1 2", "output": "3", "system": null})", kAlpaca),
            "user: 1 2\nassistant*: 3\n");
}

TEST_F(Conversations, AlpacaTakesOtherColumnsByFields) {
  fields_ = {{"instruction", "query"}, {"output", "response"}, {"input", "context"}};
  EXPECT_EQ(Words(R"({"query": "q", "context": "c", "response": "r", "output": "other"})", kAlpaca),
            "user: q\nc\nassistant*: r\n");
  EXPECT_THAT(notes_.unused, ElementsAre("output"));
}

TEST_F(Conversations, FieldsRenameKeysOfRowsAndOfTurns) {
  fields_ = {{"messages", "dialog"}, {"role", "speaker"}, {"content", "text"}};
  EXPECT_EQ(Words(R"({"dialog": [{"speaker": "user", "text": "a", "role": "host"},
                      {"speaker": "assistant", "text": "b", "content": "c"}], "messages": 5,
                      "text": "d"})",
                  kMessages),
            "user: a\nassistant*: b\n");
  EXPECT_THAT(notes_.unused,
              ElementsAre("messages", "messages[].content", "messages[].role", "text"));
}

TEST_F(Conversations, OfAPreferenceTheChosenSideIsRead) {
  const std::string want = "user: a\nassistant*: b\n";
  EXPECT_EQ(Words(R"({"prompt": [{"role": "user", "content": "a"}], "rejected": "x",
                      "chosen": [{"role": "assistant", "content": "b"}]})",
                  kPreference),
            want);
  EXPECT_EQ(
      Words(R"({"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}]})", kPreference),
      want);
  EXPECT_EQ(Words(R"({"prompt": "a", "chosen": [{"role": "user", "content": "a"},
                      {"role": "assistant", "content": "b"}], "score_chosen": 3})",
                  kPreference),
            want);
  EXPECT_THAT(notes_.unused, ElementsAre("score_chosen"));
  EXPECT_EQ(Words(R"({"chosen": [{"role": "user", "content": "a"},
                      {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
                      {"role": "assistant", "content": "d"}], "prompt": null})",
                  kPreference),
            "user: a\nassistant: b\nuser: c\nassistant*: d\n");
}

TEST_F(Conversations, OfAPreferenceInShareGptsFormTheChosenTurnIsTheAnswer) {
  fields_ = {{"prompt", "conversations"}};
  EXPECT_EQ(Words(R"({"conversations": [{"from": "human", "value": "a"}],
                      "chosen": {"from": "gpt", "value": "b"},
                      "rejected": {"from": "gpt", "value": "c"}})",
                  kPreference),
            "user: a\nassistant*: b\n");
  EXPECT_THAT(notes_.unused, IsEmpty());
}

}  // namespace
}  // namespace fttrain
