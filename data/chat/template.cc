#include "data/chat/template.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/objects.h"
#include "data/chat/jinja/template.h"
#include "data/chat/jinja/text.h"
#include "data/chat/source.h"
#include "data/text/unicode.h"
#include "runtime/process/check.h"

namespace fttrain {

using jinja::Value;

struct ChatTemplate::Impl {
  jinja::Template code;
  std::map<std::string, Value> variables;  // the special tokens
};

struct ChatTemplate::Whole {
  std::string text;
  std::vector<jinja::Rendered::Span> generation;
};

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

namespace {

// What a message's content becomes to see where it goes: no template writes it by itself.
constexpr char kMark[] =
    "\xEF\xB7\x90"
    "answer"
    "\xEF\xB7\x91";  // between two noncharacters

struct Builtin {
  ChatForm form;
  const char* name;
  std::vector<const char*> tokens;  // that it writes
};

const Builtin& BuiltinOf(ChatForm form) {
  static const std::vector<const char*> llama3 = {"<|eot_id|>", "<|start_header_id|>",
                                                  "<|end_header_id|>"};
  static const std::vector<Builtin> builtins = {
      {ChatForm::kChatml, "chatml", {"<|im_end|>", "<|im_start|>"}},
      {ChatForm::kLlama3, "llama3", llama3},
      {ChatForm::kLlama31, "llama3.1", llama3},
      {ChatForm::kGemma, "gemma", {"<end_of_turn>", "<start_of_turn>"}}};
  const auto found = std::find_if(builtins.begin(), builtins.end(),
                                  [&](const Builtin& b) { return b.form == form; });
  FT_CHECK(found != builtins.end(), "chat form ", static_cast<int>(form));
  return *found;
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

size_t CommonStart(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

size_t CommonEnd(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend()).first -
                             a.rbegin());
}

bool IsWhiteSpace(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

void Append(std::string_view text, bool target, std::vector<ChatSegment>* out) {
  if (text.empty()) return;
  if (out->empty() || out->back().target != target) out->push_back({"", target});
  out->back().text += text;
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
  out.FindEndOfTurn(tokenizer);
  return out;
}

absl::StatusOr<ChatTemplate> ChatTemplate::Create(ChatForm form, const std::string& folder,
                                                  const Tokenizer& tokenizer) {
  FT_ASSIGN_OR_RETURN(auto tokens, SpecialTokens(folder));
  tokens["bos_token"] = tokenizer.BosToken();
  tokens["eos_token"] = tokenizer.EosToken();
  if (form == ChatForm::kAuto) {
    const absl::StatusOr<std::string> text = FolderChatTemplate(folder);
    if (absl::IsNotFound(text.status())) {
      return absl::InvalidArgumentError(
          absl::StrCat(text.status().message(), ": set data.chat_template to one of ", Names()));
    }
    FT_RETURN_IF_ERROR(text.status());
    return FromText(*text, absl::StrCat("of ", folder), std::move(tokens), tokenizer);
  }
  const Builtin& builtin = BuiltinOf(form);
  for (const char* token : builtin.tokens) {
    if (tokenizer.TokenToId(token).has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("chat template ", builtin.name, " writes ",
                                                   token, ", which the tokenizer does not have"));
  }
  return FromText(BuiltinChatTemplates().at(builtin.name), builtin.name, std::move(tokens),
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
  if (rendered.ok()) return Whole{std::move(rendered->text), std::move(rendered->generation)};
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

// The first special token behind an answer, if only white space stands between.
void ChatTemplate::FindEndOfTurn(const Tokenizer& tokenizer) {
  const Message probe[] = {{"user", "question"}, {"assistant", kMark}};
  const auto text = TextOf(probe, false);
  const size_t at = text.ok() ? text->rfind(kMark) : std::string::npos;
  if (at == std::string::npos) return;
  tail_ = text->substr(at + sizeof kMark - 1);
  const auto ids = tokenizer.Encode(tail_, false);
  if (!ids.ok()) return;
  for (const int32_t id : *ids) {
    const std::string token = tokenizer.Decode({&id, 1}, false);
    if (tokenizer.Decode({&id, 1}, true).empty() && !token.empty()) {
      end_of_turn_ = token;
      return;
    }
    if (!IsWhiteSpace(token)) return;
  }
}

// Where a turn that adds text[begin, end) is over: behind the end-of-turn token, if only white
// space follows, or what the template writes at the very end of a conversation.
size_t ChatTemplate::EndOfTurn(const std::string& text, size_t begin, size_t end) const {
  if (end_of_turn_.empty()) return end;
  const std::string_view added = std::string_view(text).substr(begin, end - begin);
  const size_t last = added.ends_with(tail_)
                          ? added.size() - tail_.size() + tail_.find(end_of_turn_)
                          : added.rfind(end_of_turn_);
  if (last == std::string_view::npos) return end;
  const size_t behind = last + end_of_turn_.size();
  const bool over = added.ends_with(tail_) || IsWhiteSpace(added.substr(behind));
  return over ? begin + behind : end;
}

// What the turn adds to the conversation before it, the header of the answer counted there, if the
// turns that follow leave it as it is. Otherwise what of the text changes with the turn's content,
// and the end-of-turn token behind it.
absl::StatusOr<ChatTemplate::Part> ChatTemplate::Target(absl::Span<const Message> messages,
                                                        size_t turn,
                                                        const std::string& text) const {
  const absl::StatusOr<std::string> before =
      turn == 0 ? absl::NotFoundError("") : TextOf(messages.subspan(0, turn), true);
  const absl::StatusOr<std::string> with = TextOf(messages.subspan(0, turn + 1), false);
  const bool header = before.ok() && text.starts_with(*before);
  Part part{0, 0};
  const bool kept = header && with.ok() && with->starts_with(*before) && text.starts_with(*with);
  if (kept) {
    part = {before->size(), EndOfTurn(text, before->size(), with->size())};
    const std::string_view content = jinja::Strip(messages[turn].content, nullptr, true, true);
    const std::string_view target =
        std::string_view(text).substr(part.begin, part.end - part.begin);
    if (target.find(content) != std::string_view::npos) return part;
  }
  std::vector<Message> marked(messages.begin(), messages.end());
  marked[turn].content = kMark;
  FT_ASSIGN_OR_RETURN(const std::string other, TextOf(marked, false));
  const size_t at = other.find(kMark);
  const size_t behind = at == std::string::npos ? 0 : other.size() - at - (sizeof kMark - 1);
  if (at == std::string::npos || other.find(kMark, at + 1) != std::string::npos ||
      CommonEnd(text, other) < behind) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message ", turn, ": its answer is not found in what chat template ", name_, " writes"));
  }
  if (kept) return part;
  const size_t end = text.size() - behind;
  part.begin = std::min({at, CommonStart(text, other), end});
  if (header && before->size() <= part.begin) part.begin = before->size();
  const size_t token = end_of_turn_.empty() ? std::string::npos : text.find(end_of_turn_, end);
  const bool ends =
      token != std::string::npos && IsWhiteSpace(std::string_view(text).substr(end, token - end));
  part.end = ends ? token + end_of_turn_.size() : end;
  return part;
}

absl::StatusOr<std::vector<ChatTemplate::Part>> ChatTemplate::Targets(
    absl::Span<const Message> messages, const Whole& whole) const {
  std::vector<size_t> answers;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "assistant") answers.push_back(i);
  }
  const bool tagged = whole.generation.size() == answers.size() &&
                      std::none_of(whole.generation.begin(), whole.generation.end(),
                                   [](const jinja::Rendered::Span& span) { return span.captured; });
  std::vector<Part> parts;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!messages[answers[i]].learn) continue;
    if (tagged) {
      parts.push_back({whole.generation[i].begin, whole.generation[i].end});
      continue;
    }
    FT_ASSIGN_OR_RETURN(const Part part, Target(messages, answers[i], whole.text));
    parts.push_back(part);
  }
  return parts;
}

absl::StatusOr<std::vector<ChatSegment>> ChatTemplate::Render(
    absl::Span<const Message> messages) const {
  if (messages.empty()) return absl::InvalidArgumentError("a conversation needs a message");
  FT_ASSIGN_OR_RETURN(const Whole whole, RenderWhole(messages, false));
  FT_ASSIGN_OR_RETURN(const std::vector<Part> parts, Targets(messages, whole));
  const std::string_view text = whole.text;
  std::vector<ChatSegment> out;
  size_t done = 0;
  for (const Part& part : parts) {
    if (part.begin < done || part.end < part.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat("chat template ", name_, " writes the turns in another order"));
    }
    Append(text.substr(done, part.begin - done), false, &out);
    Append(text.substr(part.begin, part.end - part.begin), true, &out);
    done = part.end;
  }
  Append(text.substr(done), false, &out);
  return out;
}

absl::StatusOr<std::string> ChatTemplate::RenderPrompt(absl::Span<const Message> messages) const {
  if (messages.empty()) return absl::InvalidArgumentError("a conversation needs a message");
  return TextOf(messages, true);
}

}  // namespace fttrain
