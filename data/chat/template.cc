#include "data/chat/template.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "data/text/json_node.h"
#include "data/text/unicode.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;
constexpr char kNames[] = "chatml, llama3, llama3.1, gemma";
// What the checkpoint's template falls back to where the renderer gives it no date.
constexpr char kLlama31Dates[] =
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";

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
  std::string out;
  for (const char c : jinja) {
    if (c == '\n') {
      out += "\\n";
    } else if (c != '\'' && c != '"' && c != ' ' && c != '+') {
      out += c;
    }
  }
  return out;
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
      found.insert(absl::StrReplaceAll(absl::string_view(text.data(), text.size()),
                                       {{"\\n", "\n"}, {"\\'", "'"}, {"\\\"", "\""}}));
    }
  }
  if (found.size() > 1) return absl::InvalidArgumentError("it has several default system messages");
  return found.empty() ? "" : *found.begin();
}

absl::Status NotRecognised(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the checkpoint's chat template is not one that is known here (",
      absl::string_view(why.data(), why.size()), "): set data.chat_template to one of ", kNames));
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

ChatTemplate ChatTemplate::Named(const std::string& name, const std::string& bos_token) {
  const bool chatml = name == "chatml", gemma = name == "gemma";
  ChatTemplate t;
  t.name_ = name;
  t.end_of_turn_ = std::string(chatml ? "<|im_end|>" : gemma ? "<end_of_turn>" : "<|eot_id|>");
  t.after_turn_ = std::string(chatml || gemma ? "\n" : "");
  t.bos_ = chatml ? std::string() : bos_token;
  t.trim_ = !chatml;
  return t;
}

absl::StatusOr<ChatTemplate> ChatTemplate::FromText(std::string_view jinja,
                                                    const std::string& bos_token) {
  const bool chatml = Contains(jinja, "<|im_start|>"),
             llama = Contains(jinja, "<|start_header_id|>"),
             gemma = Contains(jinja, "<start_of_turn>");
  if (chatml + llama + gemma != 1)
    return NotRecognised(
        "it writes none or several of <|im_start|>, <|start_header_id|>, <start_of_turn>");
  if (Contains(jinja, "<think>") || Contains(jinja, "reasoning_content")) {
    return NotRecognised("it treats reasoning apart from the answer");
  }
  const std::string unglued = Unglued(jinja);
  const std::string_view must = chatml  ? "<|im_end|>\\n"
                                : llama ? "<|end_header_id|>\\n\\n"
                                        : "<end_of_turn>\\n";
  if (!Contains(unglued, must))
    return NotRecognised(
        absl::StrCat("it does not write ", absl::string_view(must.data(), must.size())));
  const bool dated = Contains(jinja, "Cutting Knowledge Date");
  ChatTemplate t = Named(chatml  ? "chatml"
                         : gemma ? "gemma"
                         : dated ? "llama3.1"
                                 : "llama3",
                         bos_token);
  t.trim_ = Contains(unglued, "|trim");
  if (Contains(jinja, "bos_token")) {
    t.bos_ = bos_token;
  } else {
    t.bos_ = std::string(llama && Contains(jinja, "<|begin_of_text|>") ? "<|begin_of_text|>"
                         : gemma && Contains(jinja, "<bos>")           ? "<bos>"
                                                                       : "");
  }
  t.refuses_system_ = Contains(jinja, "System role not supported");
  if (chatml) {
    auto system = FindDefaultSystem(jinja);
    if (!system.ok()) return NotRecognised(std::string(system.status().message()));
    t.default_system_ = *std::move(system);
  }
  return t;
}

absl::StatusOr<ChatTemplate> ChatTemplate::Create(const std::string& name,
                                                  const std::string& folder,
                                                  const Tokenizer& tokenizer) {
  ChatTemplate t;
  if (name == "auto") {
    FT_ASSIGN_OR_RETURN(const std::string jinja, ReadTemplateText(folder));
    FT_ASSIGN_OR_RETURN(t, FromText(jinja, tokenizer.BosToken()));
  } else if (name == "chatml" || name == "llama3" || name == "llama3.1" || name == "gemma") {
    t = Named(name, tokenizer.BosToken());
  } else {
    return absl::InvalidArgumentError(absl::StrCat("data.chat_template '", Printable(name),
                                                   "' is not known; known are auto, ", kNames));
  }
  std::vector<std::string> tokens = {t.end_of_turn_};
  if (t.name_ == "chatml") tokens.push_back("<|im_start|>");
  if (t.name_ == "gemma") tokens.push_back("<start_of_turn>");
  if (t.end_of_turn_ == "<|eot_id|>")
    tokens.insert(tokens.end(), {"<|start_header_id|>", "<|end_header_id|>"});
  for (const std::string& token : tokens) {
    if (!tokenizer.TokenToId(token).has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("chat template ", t.name_, " writes ", token,
                                                     ", which the tokenizer does not have"));
    }
  }
  return t;
}

std::string ChatTemplate::Header(const std::string& role) const {
  if (name_ == "chatml") return absl::StrCat("<|im_start|>", role, "\n");
  if (name_ == "gemma") {
    return absl::StrCat("<start_of_turn>", role == "assistant" ? "model" : role, "\n");
  }
  return absl::StrCat("<|start_header_id|>", role, "<|end_header_id|>\n\n");
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
    if (name_ == "gemma" && role != "system" && (role == "user") != users_turn) {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", i, ": with template gemma, user and assistant must alternate"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChatSegment>> ChatTemplate::Render(
    absl::Span<const Message> messages) const {
  FT_RETURN_IF_ERROR(Check(messages));
  std::vector<ChatSegment> out;
  Append(bos_, false, &out);
  std::string system = default_system_;  // for templates that put it in themselves
  if (messages[0].role == "system") {
    system = trim_ ? Trim(messages[0].content) : messages[0].content;
    if (name_ == "gemma") system = absl::StrCat(messages[0].content, "\n\n");
    messages.remove_prefix(1);
    if (name_ != "llama3.1" && name_ != "gemma") {
      Append(absl::StrCat(Header("system"), system, end_of_turn_, after_turn_), false, &out);
    }
  } else if (!system.empty()) {
    Append(absl::StrCat(Header("system"), system, end_of_turn_, after_turn_), false, &out);
  }
  if (name_ == "llama3.1") {
    Append(absl::StrCat(Header("system"), kLlama31Dates, system, end_of_turn_), false, &out);
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    Append(Header(message.role), false, &out);
    if (name_ == "gemma" && i == 0) Append(system, false, &out);
    Append((trim_ ? Trim(message.content) : message.content) + end_of_turn_, message.learn, &out);
    Append(after_turn_, false, &out);
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
