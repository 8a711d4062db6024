#include "data/chat/template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/objects.h"
#include "data/chat/jinja/template.h"
#include "data/chat/source.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

using jinja::Value;

struct ChatTemplate::Impl {
  jinja::Template code;
  std::map<std::string, Value> variables;  // the special tokens
};

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

namespace {

struct Builtin {
  const char* name;
  std::vector<const char*> tokens;  // that it writes
};

const Builtin* FindBuiltin(std::string_view name) {
  static const std::vector<const char*> llama3 = {"<|eot_id|>", "<|start_header_id|>",
                                                  "<|end_header_id|>"};
  static const std::vector<Builtin> builtins = {{"chatml", {"<|im_end|>", "<|im_start|>"}},
                                                {"llama3", llama3},
                                                {"llama3.1", llama3},
                                                {"gemma", {"<end_of_turn>", "<start_of_turn>"}}};
  const auto found = std::find_if(builtins.begin(), builtins.end(),
                                  [&](const Builtin& b) { return b.name == name; });
  return found == builtins.end() ? nullptr : &*found;
}

std::string Names() {
  std::string out;
  for (const auto& builtin : BuiltinChatTemplates())
    out += (out.empty() ? "" : ", ") + builtin.first;
  return out;
}

// The day that a template is told: the same in every run, Llama 3.1's own where it is told none.
std::tm Today() {
  std::tm day = {};
  day.tm_year = 124;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  day.tm_yday = 207;
  return day;
}

Value ValueOf(const Message& message) {
  auto dict = std::make_shared<jinja::DictObject>();
  dict->Set(Value::String("role"), Value::String(message.role));
  dict->Set(Value::String("content"), Value::String(message.content));
  return jinja::Dict(std::move(dict));
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::FromText(std::string_view jinja, const std::string& name,
                                                    std::map<std::string, std::string> tokens,
                                                    const Tokenizer& tokenizer) {
  auto code = jinja::Template::Parse(jinja);
  if (!code.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chat template ", name, ": ", code.status().message(),
                     "; or set data.chat_template to one of ", Names()));
  }
  ChatTemplate out;
  out.name_ = name;
  out.impl_ = std::make_unique<Impl>(Impl{*std::move(code), {}});
  for (const auto& [token, text] : tokens) {
    if (!text.empty()) out.impl_->variables.emplace(token, Value::String(text));
  }
  FT_RETURN_IF_ERROR(out.FindEndOfTurn(tokenizer));
  return out;
}

absl::StatusOr<ChatTemplate> ChatTemplate::Create(const ChatOptions& options,
                                                  const std::string& folder,
                                                  const Tokenizer& tokenizer) {
  FT_ASSIGN_OR_RETURN(auto tokens, SpecialTokens(folder));
  tokens["bos_token"] = tokenizer.BosToken();
  tokens["eos_token"] = tokenizer.EosToken();
  if (options.name == "auto") {
    const absl::StatusOr<std::string> text = FolderChatTemplate(folder);
    if (absl::IsNotFound(text.status())) {
      return absl::InvalidArgumentError(
          absl::StrCat(text.status().message(), ": set data.chat_template to one of ", Names()));
    }
    FT_RETURN_IF_ERROR(text.status());
    return FromText(*text, absl::StrCat("of ", folder), std::move(tokens), tokenizer);
  }
  const Builtin* const builtin = FindBuiltin(options.name);
  if (builtin == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "there is no chat template ", Printable(options.name), ": auto and ", Names(), " are"));
  }
  for (const char* token : builtin->tokens) {
    if (tokenizer.TokenToId(token).has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("chat template ", builtin->name, " writes ",
                                                   token, ", which the tokenizer does not have"));
  }
  return FromText(BuiltinChatTemplates().at(builtin->name), builtin->name, std::move(tokens),
                  tokenizer);
}

absl::StatusOr<ChatTemplate::Whole> ChatTemplate::RenderWhole(absl::Span<const Message> messages,
                                                              bool prompt) const {
  std::map<std::string, Value> variables = impl_->variables;
  try {
    std::vector<Value> list;
    for (const Message& message : messages) list.push_back(ValueOf(message));
    variables["messages"] = Value::List(std::move(list));
  } catch (const jinja::Error& error) {  // there are too many
    return absl::InvalidArgumentError(error.message);
  }
  variables["tools"] = Value::None();
  variables["documents"] = Value::None();
  variables["add_generation_prompt"] = Value::Bool(prompt);
  auto rendered = impl_->code.Render(variables, Today());
  if (rendered.ok()) {
    Whole whole{std::move(rendered->text), {}, false};
    for (const auto& span : rendered->generation) {
      whole.generation.push_back({span.begin, span.end});
      whole.captured |= span.captured;
    }
    return whole;
  }
  if (absl::IsFailedPrecondition(rendered.status())) {  // in the template's own words
    return absl::InvalidArgumentError(rendered.status().message());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("chat template ", name_, ": ", rendered.status().message()));
}

absl::StatusOr<std::string> ChatTemplate::TextOf(absl::Span<const Message> messages,
                                                 bool prompt) const {
  FT_ASSIGN_OR_RETURN(Whole whole, RenderWhole(messages, prompt));
  return std::move(whole.text);
}

absl::StatusOr<std::string> ChatTemplate::RenderPrompt(const Conversation& conversation) const {
  if (conversation.messages.empty()) {
    return absl::InvalidArgumentError("a conversation needs a message");
  }
  return TextOf(conversation.messages, true);
}

}  // namespace fttrain
