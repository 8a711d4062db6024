#include "data/chat/dialog.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "data/chat/jinja/error.h"
#include "data/chat/jinja/objects.h"
#include "data/chat/jinja/text.h"

namespace fttrain {

using jinja::DictObject;
using jinja::Kind;
using jinja::Value;

namespace {

constexpr std::string_view kReasoningKeys[] = {"reasoning_content", "thinking", "reasoning"};
// They tell calls, results and speakers apart: few templates write them.
constexpr std::string_view kLabels[] = {"id", "index", "name", "tool_call_id", "tool_name", "type"};

template <size_t n>
bool IsOneOf(std::string_view key, const std::string_view (&keys)[n]) {
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

bool IsText(const std::string& text) { return !jinja::Strip(text, nullptr, true, true).empty(); }
bool IsText(const Value& value) { return value.Is(Kind::kString) && IsText(value.text()); }

bool HasText(const Value& value) {
  if (IsText(value)) return true;
  if (value.Is(Kind::kList)) {
    return std::any_of(value.items().begin(), value.items().end(), HasText);
  }
  if (!value.Is(Kind::kDict)) return false;
  const auto& entries = value.As<DictObject>().entries;
  return std::any_of(entries.begin(), entries.end(),
                     [](const auto& entry) { return HasText(entry.second); });
}

// A copy of a dict, each of whose values is what `of` makes of it.
template <typename F>
Value Mapped(const Value& dict, const F& of) {
  auto out = std::make_shared<DictObject>();
  for (const auto& [key, value] : dict.As<DictObject>().entries) {
    out->Set(key, of(key.Is(Kind::kString) ? key.text() : std::string(), value));
  }
  return jinja::Dict(std::move(out));
}

constexpr std::string_view kContentKey = "content";

TextPlace ContentOf(size_t message) { return {message, TextKind::kContent, kContentKey, 0}; }

class DialogMaker {
 public:
  explicit DialogMaker(const Rewrite& rewrite) : rewrite_(rewrite) {}

  Value MessageOf(const Message& message, size_t index) const {
    // Never freed: a value may outlive statics.
    static const Value* const role = new Value(Value::String("role"));
    static const Value* const content = new Value(Value::String(std::string(kContentKey)));
    auto dict = std::make_shared<DictObject>();
    dict->entries.reserve(2 + message.more.size());
    dict->Set(role->Borrowed(), Value::String(message.role));
    if (!message.null_content) {
      const bool rewritten = rewrite_ != nullptr && IsText(message.content);
      dict->Set(
          content->Borrowed(),
          Value::String(rewritten ? rewrite_(ContentOf(index), message.content) : message.content));
    }
    const Entry* const thought = ReasoningOf(message);
    const Value told =
        thought == nullptr ? Value::None() : Member(index, thought->first, thought->second);
    for (const auto& [key, value] : message.more) {
      if (value.Is(Kind::kNone)) continue;
      const bool again = thought != nullptr && IsOneOf(key, kReasoningKeys) &&
                         (key == thought->first || (IsText(value) && IsText(thought->second) &&
                                                    value.text() == thought->second.text()));
      dict->Set(Value::String(key), again ? told : Member(index, key, value));
    }
    if (thought == nullptr) return jinja::Dict(std::move(dict));
    auto with = std::make_shared<DictObject>();
    with->Set(Value::String("thinking"), told);
    for (const auto& [key, value] : dict->entries) with->Set(key, value);
    with->Set(Value::String("reasoning_content"), told);
    return jinja::Dict(std::move(with));
  }

  Value ListOf(const std::vector<Value>& items, TextKind kind, std::string_view key) const {
    if (items.empty()) return Value::None();
    std::vector<Value> out;
    for (const Value& item : items) {
      const TextPlace place{kNoMessage, kind, key, out.size()};
      out.push_back(kind == TextKind::kTools ? Tool(place, item) : Texts(place, item));
    }
    return Value::List(std::move(out));
  }

 private:
  using Entry = std::pair<std::string, Value>;
  static const Entry* ReasoningOf(const Message& message) {
    for (const std::string_view key : kReasoningKeys) {
      for (const Entry& entry : message.more) {
        if (entry.first == key && !entry.second.Is(Kind::kNone)) return &entry;
      }
    }
    return nullptr;
  }

  Value Text(const TextPlace& place, const Value& value) const {
    if (rewrite_ == nullptr || !IsText(value)) return value;
    return Value::String(rewrite_(place, value.text()));
  }

  // Every text below `value`, but those under labels.
  Value Texts(const TextPlace& place, const Value& value) const {
    if (rewrite_ == nullptr) return value;
    if (value.Is(Kind::kList)) {
      std::vector<Value> out;
      for (const Value& item : value.items()) out.push_back(Texts(place, item));
      return Value::List(std::move(out));
    }
    if (!value.Is(Kind::kDict)) return Text(place, value);
    return Mapped(value, [&](const std::string& key, const Value& inner) {
      return IsOneOf(key, kLabels) ? inner : Texts(place, inner);
    });
  }

  Value Member(size_t index, const std::string& key, const Value& value) const {
    if (IsOneOf(key, kLabels)) return value;
    const bool calls = key == "tool_calls" || key == "function_call";
    const TextKind kind = calls                          ? TextKind::kCallValue
                          : IsOneOf(key, kReasoningKeys) ? TextKind::kReasoning
                                                         : TextKind::kOther;
    const TextPlace place{index, kind, key, 0};
    if (!calls || rewrite_ == nullptr) return Texts(place, value);
    if (!value.Is(Kind::kList)) return Call(place, value);
    std::vector<Value> out;
    for (const Value& call : value.items())
      out.push_back(Call({index, kind, key, out.size()}, call));
    return Value::List(std::move(out));
  }

  // {"function": {"name", "arguments"}}, or the inner one alone.
  Value Call(const TextPlace& place, const Value& call) const {
    if (!call.Is(Kind::kDict)) return Texts(place, call);
    return Mapped(call, [&](const std::string& key, const Value& value) {
      if (key == "function" && value.Is(Kind::kDict)) return Call(place, value);
      if (key == "name")
        return Text({place.message, TextKind::kCallName, place.key, place.item}, value);
      return key == "arguments" ? Arguments(place, value) : value;
    });
  }

  Value Arguments(const TextPlace& place, const Value& value) const {
    if (value.Is(Kind::kList)) {
      std::vector<Value> out;
      for (const Value& item : value.items()) out.push_back(Arguments(place, item));
      return Value::List(std::move(out));
    }
    if (!value.Is(Kind::kDict)) return Text(place, value);
    auto out = std::make_shared<DictObject>();
    for (const auto& [key, inner] : value.As<DictObject>().entries) {
      const Value name =
          HasText(inner) ? key
                         : Text({place.message, TextKind::kCallName, place.key, place.item}, key);
      out->Set(name, Arguments(place, inner));
    }
    return jinja::Dict(std::move(out));
  }

  Value Tool(const TextPlace& place, const Value& tool) const {
    if (rewrite_ == nullptr || !tool.Is(Kind::kDict)) return Texts(place, tool);
    return Mapped(tool, [&](const std::string& key, const Value& value) {
      if (key == "function") return Tool(place, value);
      return key == "name" || key == "description" ? Text(place, value) : value;
    });
  }

  const Rewrite& rewrite_;
};

}  // namespace

void ForEachText(const Conversation& conversation, const LookAt& look) {
  const Rewrite rewrite = [&](const TextPlace& place, const std::string& text) {
    look(place, text);
    return text;
  };
  const DialogMaker maker(rewrite);
  try {
    for (size_t i = 0; i < conversation.messages.size(); ++i) {
      const Message& message = conversation.messages[i];
      if (!message.more.empty()) {
        maker.MessageOf(message, i);
      } else if (!message.null_content && IsText(message.content)) {
        look(ContentOf(i), message.content);
      }
    }
    maker.ListOf(conversation.tools, TextKind::kTools, "tools");
    maker.ListOf(conversation.documents, TextKind::kDocuments, "documents");
  } catch (const jinja::Error&) {  // MakeDialog says it
  }
}

absl::StatusOr<Dialog> MakeDialog(const Conversation& conversation, const Rewrite& rewrite) {
  const DialogMaker maker(rewrite);
  try {
    Dialog out;
    for (const Message& message : conversation.messages) {
      out.messages.push_back(maker.MessageOf(message, out.messages.size()));
    }
    out.tools = maker.ListOf(conversation.tools, TextKind::kTools, "tools");
    out.documents = maker.ListOf(conversation.documents, TextKind::kDocuments, "documents");
    return out;
  } catch (const jinja::Error& error) {
    return absl::ResourceExhaustedError(error.message);
  }
}

}  // namespace fttrain
