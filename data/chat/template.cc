#include "data/chat/template.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "data/text/unicode.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"

namespace fttrain {

struct ChatRules {
  ChatForm form;
  const char* name;
  const char* before_role;  // a token, as end_of_turn and role_end are
  const char* role_end = "";
  const char* header_end = "\n";
  const char* end_of_turn;
  const char* after_turn = "\n";
  const char* written;   // what a template of this form writes, unglued
  const char* bos = "";  // as such a template spells it, if not as bos_token
  bool adds_bos = true, trims = true;
  const char* assistant = "assistant";
  const char* system_preamble = "";   // if any, there is always a system turn, and this opens it
  bool system_in_first_turn = false;  // and no turn of its own
  bool alternates = false;            // user, assistant, user, ...
};

namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;
constexpr char kNames[] = "chatml, llama3, llama3.1, gemma";

constexpr ChatRules kLlama3 = {.form = ChatForm::kLlama3,
                               .name = "llama3",
                               .before_role = "<|start_header_id|>",
                               .role_end = "<|end_header_id|>",
                               .header_end = "\n\n",
                               .end_of_turn = "<|eot_id|>",
                               .after_turn = "",
                               .written = "<|end_header_id|>\\n\\n",
                               .bos = "<|begin_of_text|>"};

constexpr ChatRules Llama31() {
  ChatRules rules = kLlama3;
  rules.form = ChatForm::kLlama31;
  rules.name = "llama3.1";
  // The checkpoint's template falls back to these dates where its renderer gives none.
  rules.system_preamble = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  return rules;
}

constexpr ChatRules kRules[] = {
    {.form = ChatForm::kChatml,
     .name = "chatml",
     .before_role = "<|im_start|>",
     .end_of_turn = "<|im_end|>",
     .written = "<|im_end|>\\n",
     .adds_bos = false,
     .trims = false},
    kLlama3,
    Llama31(),
    {.form = ChatForm::kGemma,
     .name = "gemma",
     .before_role = "<start_of_turn>",
     .end_of_turn = "<end_of_turn>",
     .written = "<end_of_turn>\\n",
     .bos = "<bos>",
     .assistant = "model",
     .system_in_first_turn = true,
     .alternates = true},
};

const ChatRules& RulesOf(ChatForm form) {
  const ChatRules* found = std::find_if(std::begin(kRules), std::end(kRules),
                                        [&](const ChatRules& rules) { return rules.form == form; });
  FT_CHECK(found != std::end(kRules), "chat form ", static_cast<int>(form));
  return *found;
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// What Python's str.strip() takes away.
bool IsPythonSpace(uint32_t c) { return IsUnicodeSpace(c) || (c >= 0x1C && c <= 0x1F); }

std::string Trim(std::string_view text) {
  size_t begin = 0, end = 0;
  bool seen = false;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(static_cast<unsigned char>(text[i]));
    if (!IsPythonSpace(Utf8CodePoint(text, i))) {
      if (!seen) begin = i;
      seen = true;
      end = i + length;
    }
    i += length;
  }
  return std::string(text.substr(begin, end - begin));
}

// The literal text of a template without what glues it together, so that '<|im_end|>' + '\n' and
// "<|im_end|>\n" look alike.
std::string Unglued(std::string_view jinja) {
  return absl::StrReplaceAll(std::string(jinja),
                             {{"\n", "\\n"}, {"'", ""}, {"\"", ""}, {" ", ""}, {"+", ""}});
}

// The system message that the template writes by itself: literal text between the header and the
// end of a system turn.
absl::StatusOr<std::string> FindDefaultSystem(std::string_view jinja) {
  std::set<std::string> found;
  for (const std::string_view header : {"<|im_start|>system\\n", "<|im_start|>system\n"}) {
    for (size_t at = jinja.find(header); at != std::string_view::npos;
         at = jinja.find(header, at + 1)) {
      const size_t begin = at + header.size(), end = jinja.find("<|im_end|>", begin);
      if (end == std::string_view::npos) continue;
      const std::string_view text = jinja.substr(begin, end - begin);
      if (Contains(text, "}}") || Contains(text, "%}") || Contains(text, "' +") ||
          Contains(text, "'+"))
        continue;
      found.insert(
          absl::StrReplaceAll(std::string(text), {{"\\n", "\n"}, {"\\'", "'"}, {"\\\"", "\""}}));
    }
  }
  if (found.size() > 1) return absl::InvalidArgumentError("it has several default system messages");
  return found.empty() ? "" : *found.begin();
}

absl::Status NotRecognised(absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("the checkpoint's chat template is not one that is known here (", why,
                   "): set data.chat_template to one of ", kNames));
}

absl::StatusOr<std::string> ReadTemplateText(const std::string& folder) {
  absl::StatusOr<std::string> jinja = ReadFile(folder + "/chat_template.jinja", kMaxFileBytes);
  if (!absl::IsNotFound(jinja.status())) return jinja;
  const std::string path = folder + "/tokenizer_config.json";
  const absl::StatusOr<std::string> config = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(config.status())) {
    return NotRecognised(
        absl::StrCat("there is neither chat_template.jinja nor tokenizer_config.json in ", folder));
  }
  FT_RETURN_IF_ERROR(config.status());
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*config, path));
  const JsonNode node = JsonNode(&parsed, path)["chat_template"];
  if (!node.present()) return NotRecognised(path + " has no chat_template");
  if (!node.value().is_array()) return node.String();
  for (size_t i = 0; i < node.size(); ++i) {  // named templates: the one called "default"
    FT_ASSIGN_OR_RETURN(const std::string name, node[i]["name"].String());
    if (name == "default") return node[i]["template"].String();
  }
  return NotRecognised(path + " has no template called default");
}

void Append(std::string_view text, bool target, std::vector<ChatSegment>* out) {
  if (text.empty()) return;
  if (out->empty() || out->back().target != target) out->push_back({"", target});
  out->back().text += text;
}

}  // namespace

ChatTemplate::ChatTemplate(ChatForm form, const std::string& bos_token)
    : rules_(&RulesOf(form)), bos_(rules_->adds_bos ? bos_token : ""), trim_(rules_->trims) {}

std::string ChatTemplate::end_of_turn() const { return rules_->end_of_turn; }
std::string ChatTemplate::name() const { return rules_->name; }

absl::StatusOr<ChatTemplate> ChatTemplate::FromText(std::string_view jinja,
                                                    const std::string& bos_token) {
  std::vector<ChatForm> forms;
  for (const ChatForm form : {ChatForm::kChatml, ChatForm::kLlama3, ChatForm::kGemma}) {
    if (Contains(jinja, RulesOf(form).before_role)) forms.push_back(form);
  }
  if (forms.size() != 1)
    return NotRecognised(
        "it writes none or several of <|im_start|>, <|start_header_id|>, <start_of_turn>");
  if (Contains(jinja, "<think>") || Contains(jinja, "reasoning_content")) {
    return NotRecognised("it treats reasoning apart from the answer");
  }
  const bool dated = forms[0] == ChatForm::kLlama3 && Contains(jinja, "Cutting Knowledge Date");
  ChatTemplate t(dated ? ChatForm::kLlama31 : forms[0], bos_token);
  const std::string unglued = Unglued(jinja);
  if (!Contains(unglued, t.rules_->written)) {
    return NotRecognised(absl::StrCat("it does not write ", t.rules_->written));
  }
  t.trim_ = Contains(unglued, "|trim");
  t.bos_ = Contains(jinja, "bos_token")     ? bos_token
           : Contains(jinja, t.rules_->bos) ? t.rules_->bos
                                            : "";
  t.refuses_system_ = Contains(jinja, "System role not supported");
  auto system = FindDefaultSystem(jinja);
  if (!system.ok()) return NotRecognised(system.status().message());
  t.default_system_ = *std::move(system);
  return t;
}

absl::StatusOr<ChatTemplate> ChatTemplate::Create(ChatForm form, const std::string& folder,
                                                  const Tokenizer& tokenizer) {
  std::optional<ChatTemplate> t;
  if (form == ChatForm::kAuto) {
    FT_ASSIGN_OR_RETURN(const std::string jinja, ReadTemplateText(folder));
    FT_ASSIGN_OR_RETURN(t, FromText(jinja, tokenizer.BosToken()));
  } else {
    t = ChatTemplate(form, tokenizer.BosToken());
  }
  const ChatRules& rules = *t->rules_;
  for (const std::string token : {rules.end_of_turn, rules.before_role, rules.role_end}) {
    if (token.empty() || tokenizer.TokenToId(token).has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("chat template ", rules.name, " writes ", token,
                                                   ", which the tokenizer does not have"));
  }
  return *std::move(t);
}

std::string ChatTemplate::Header(const std::string& role) const {
  return absl::StrCat(rules_->before_role, role == "assistant" ? rules_->assistant : role,
                      rules_->role_end, rules_->header_end);
}

absl::Status ChatTemplate::Check(absl::Span<const Message> messages) const {
  if (messages.empty()) return absl::InvalidArgumentError("a conversation needs a message");
  const bool system_first = messages[0].role == "system";
  if (system_first && refuses_system_) {
    return absl::InvalidArgumentError("this checkpoint's chat template has no system role");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return absl::InvalidArgumentError(absl::StrCat("message ", i, ": role '", Printable(role),
                                                     "' is none of system, user, assistant"));
    }
    if (role == "system" && i > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", i, ": the system message must come first"));
    }
    const bool users_turn = (i - (system_first ? 1 : 0)) % 2 == 0;
    if (rules_->alternates && role != "system" && (role == "user") != users_turn) {
      return absl::InvalidArgumentError(absl::StrCat("message ", i, ": with template ", name(),
                                                     ", user and assistant must alternate"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChatSegment>> ChatTemplate::Render(
    absl::Span<const Message> messages) const {
  FT_RETURN_IF_ERROR(Check(messages));
  std::vector<ChatSegment> out;
  Append(bos_, false, &out);
  std::string system = default_system_, opening;
  const bool has_system = messages[0].role == "system";
  if (has_system) {
    const std::string& content = messages[0].content;
    if (rules_->system_in_first_turn) {
      opening = content + "\n\n";
    } else {
      system = trim_ ? Trim(content) : content;
    }
    messages.remove_prefix(1);
  }
  system.insert(0, rules_->system_preamble);
  if (!system.empty() || (has_system && !rules_->system_in_first_turn)) {
    Append(absl::StrCat(Header("system"), system, rules_->end_of_turn, rules_->after_turn), false,
           &out);
  }
  for (const Message& message : messages) {
    Append(Header(message.role) + std::exchange(opening, ""), false, &out);
    Append((trim_ ? Trim(message.content) : message.content) + rules_->end_of_turn, message.learn,
           &out);
    Append(rules_->after_turn, false, &out);
  }
  return out;
}

absl::StatusOr<std::string> ChatTemplate::RenderPrompt(absl::Span<const Message> messages) const {
  FT_ASSIGN_OR_RETURN(const std::vector<ChatSegment> segments, Render(messages));
  std::string out;
  for (const ChatSegment& segment : segments) out += segment.text;
  return out + Header("assistant");
}

}  // namespace fttrain
