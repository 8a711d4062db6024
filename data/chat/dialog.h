// A conversation as the values that a template sees.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/conversation.h"
#include "data/chat/jinja/value.h"

namespace fttrain {

struct Dialog {
  std::vector<jinja::Value> messages;
  jinja::Value tools, documents;  // none, or a list
};

// What a text of a conversation is to the one who reads it.
enum class TextKind {
  kContent,
  kReasoning,  // reasoning_content, thinking, reasoning
  kCallName,   // of a tool that is called; a key of its arguments that has no text below it
  kCallValue,  // a text among the arguments
  kOther,      // any other key
  kTools,      // a tool's name or description
  kDocuments
};

inline constexpr size_t kNoMessage = static_cast<size_t>(-1);

struct TextPlace {
  size_t message;  // kNoMessage: tools and documents
  TextKind kind;
  std::string_view key;  // of the message: "content", "tool_calls", ...
  size_t item;           // which of the calls, tools or documents
};

// What a text becomes. Called for each text that carries meaning and is not blank, in an order that
// the conversation alone decides.
using Rewrite = std::function<std::string(const TextPlace& place, const std::string& text)>;

// As transformers 5 passes them: role, content, then `more`; keys that are none are left out, and
// what one of reasoning_content, thinking and reasoning says, the first of them that is there,
// stands under `thinking` (in front) and reasoning_content too. `rewrite` may be null.
// ResourceExhausted where there is more than the interpreter takes.
absl::StatusOr<Dialog> MakeDialog(const Conversation& conversation, const Rewrite& rewrite);

// The texts that MakeDialog gives to `rewrite`, in its order, up to one it fails at: without the
// values, which most conversations need not be made into for that.
using LookAt = std::function<void(const TextPlace& place, const std::string& text)>;
void ForEachText(const Conversation& conversation, const LookAt& look);

}  // namespace fttrain
