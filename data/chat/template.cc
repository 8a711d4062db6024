#include "data/chat/template.h"

#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/borders.h"
#include "data/chat/renderer.h"
#include "data/chat/source.h"
#include "data/chat/targets.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

struct ChatTemplate::Form {
  Renderer renderer;
  TurnEnds ends;
};

ChatTemplate::ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

namespace {

using Tokens = std::map<std::string, std::string>;

absl::StatusOr<std::tm> DayOf(const std::string& date) {
  std::tm day = {};
  char same[32] = "";
  if (strptime(date.c_str(), "%Y-%m-%d", &day) != nullptr) {
    const std::time_t seconds = timegm(&day);  // puts the 31st of June on the 1st of July
    if (gmtime_r(&seconds, &day) != nullptr) std::strftime(same, sizeof(same), "%Y-%m-%d", &day);
  }
  if (!date.empty() && date == same) return day;
  return absl::InvalidArgumentError(absl::StrCat(
      "data.date ", Printable(date), " is no day: write it as YYYY-MM-DD, such as 2024-07-26"));
}

std::string InWords(const std::tm& day) {
  char out[64];
  return std::string(out, std::strftime(out, sizeof(out), "%d %b %Y", &day));
}

// What a template writes of one short exchange, on a line.
std::string Example(const Renderer& renderer, bool system) {
  Conversation sample;
  if (system) sample.messages.push_back({"system", "Be brief."});
  sample.messages.push_back({"user", "Hello"});
  sample.messages.push_back({"assistant", "Hi!"});
  const auto text = renderer.Render(MakeDialog(sample, nullptr), false);
  constexpr size_t kLongest = 400;
  if (!text.ok()) return absl::StrCat("(refused: ", text.status().message(), ")");
  const std::string line = Printable(text->text);
  return line.size() <= kLongest ? line : line.substr(0, kLongest) + " ...";
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::FromText(std::string_view jinja, const std::string& name,
                                                    Tokens tokens, const Tokenizer& tokenizer,
                                                    const std::string& date) {
  FT_ASSIGN_OR_RETURN(const std::tm today, DayOf(date));
  auto renderer = Renderer::Parse(jinja, name, tokens, today);
  if (!renderer.ok()) {
    return absl::DataLossError(absl::StrCat(
        renderer.status().message(), "; or set data.chat_template to one of ", BuiltinChatNames()));
  }
  absl::StatusOr<TurnEnds> ends = FindTurnEnds(*renderer, tokenizer);
  if (!ends.ok()) return absl::DataLossError(ends.status().message());
  ChatTemplate out;
  out.form_ = std::make_unique<Form>(Form{*std::move(renderer), *std::move(ends)});
  const TurnEnds& found = out.form_->ends;
  const std::string chat = absl::StrCat("chat template ", name);
  if (found.asked_date || jinja.find("strftime_now") != std::string_view::npos) {
    out.notes_.push_back(absl::StrCat(chat, found.asked_date ? " asks" : " may ask",
                                      " for today's date: ", InWords(today),
                                      " in every row (data.date)"));
  }
  if (found.tagged) return out;  // it says what is learnt
  if (out.end_of_turn().empty()) {
    out.notes_.push_back(
        absl::StrCat(chat, " ends no turn with a token: where to stop is not learnt"));
  } else if (found.last.empty() || found.inner.empty()) {
    out.notes_.push_back(
        absl::StrCat(chat, " writes no token behind ",
                     found.last.empty() ? "the last turn" : "turns before the last",
                     ": where to stop is not learnt there"));
  }
  return out;
}

namespace {

absl::Status CheckTokens(const ChatSource& source, const Tokenizer& tokenizer) {
  if (!source.builtin) return absl::OkStatus();
  for (const std::string_view token : BuiltinChatTokens(source.name)) {
    if (tokenizer.TokenToId(token).has_value()) continue;
    return absl::InvalidArgumentError(absl::StrCat("chat template ", source.name, " writes ",
                                                   std::string(token),
                                                   ", which the tokenizer does not have"));
  }
  return absl::OkStatus();
}

// How a built-in one differs from the folder's own; empty if it does not.
std::string Difference(const ChatSource& source, const Tokens& tokens, const Renderer& ours) {
  if (source.own.empty()) return "";
  const auto own = Renderer::Parse(source.own, "auto", tokens, ours.today());
  if (!own.ok()) return "";
  for (const bool system : {false, true}) {
    const std::string a = Example(ours, system), b = Example(*own, system);
    if (a == b) continue;
    return absl::StrCat("chat template ", source.name, " writes\n  ", a,
                        "\nwhere the checkpoint's own (auto) writes\n  ", b);
  }
  return "";
}

// A template that has no form for calls says of a turn that only calls that it has no content.
absl::Status WithoutContent(const absl::Status& status, const Conversation& conversation) {
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const Message& message = conversation.messages[i];
    if (!message.null_content) continue;
    return absl::Status(
        status.code(),
        absl::StrCat(status.message(), "; message ", i, " (", message.role,
                     ") has tool_calls and no content: if the template has no form for that, take "
                     "the row out, or set data.chat_template to one that has"));
  }
  return status;
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::Create(const ChatOptions& options,
                                                  const std::string& folder,
                                                  const Tokenizer& tokenizer) {
  FT_ASSIGN_OR_RETURN(Tokens tokens, SpecialTokens(folder));
  tokens["bos_token"] = tokenizer.BosToken();
  tokens["eos_token"] = tokenizer.EosToken();
  FT_ASSIGN_OR_RETURN(const ChatSource source, FindChatTemplate(options.name, folder));
  FT_RETURN_IF_ERROR(CheckTokens(source, tokenizer));
  FT_ASSIGN_OR_RETURN(ChatTemplate out,
                      FromText(source.text, source.name, tokens, tokenizer, options.date));
  if (!source.tools_text.empty()) {
    FT_ASSIGN_OR_RETURN(ChatTemplate tools, FromText(source.tools_text, source.tools_name, tokens,
                                                     tokenizer, options.date));
    out.tools_form_ = std::move(tools.form_);
    out.notes_.insert(out.notes_.end(), tools.notes_.begin(), tools.notes_.end());
  }
  for (const std::string& note : {source.note, Difference(source, tokens, out.form_->renderer)}) {
    if (!note.empty()) out.notes_.push_back(note);
  }
  return out;
}

const ChatTemplate::Form& ChatTemplate::FormFor(const Conversation& conversation) const {
  return tools_form_ != nullptr && !conversation.tools.empty() ? *tools_form_ : *form_;
}

std::string ChatTemplate::end_of_turn() const {
  const TurnEnds& ends = form_->ends;
  return ends.last.empty() ? ends.inner : ends.last;
}

std::string ChatTemplate::name() const { return form_->renderer.name(); }

absl::StatusOr<std::string> ChatTemplate::RenderPrompt(const Conversation& conversation) const {
  if (conversation.messages.empty()) {
    return absl::InvalidArgumentError("a conversation needs a message");
  }
  FT_ASSIGN_OR_RETURN(
      Rendering rendered,
      FormFor(conversation).renderer.Render(MakeDialog(conversation, nullptr), true));
  return std::move(rendered.text);
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(const Conversation& conversation) const {
  if (conversation.messages.empty()) {
    return absl::InvalidArgumentError("a conversation needs a message");
  }
  const Form& form = FormFor(conversation);
  FT_ASSIGN_OR_RETURN(const Dialog dialog, MakeDialog(conversation, nullptr));
  const absl::StatusOr<Rendering> rendered = form.renderer.Render(dialog, false);
  if (!rendered.ok()) return WithoutContent(rendered.status(), conversation);
  const Rendering& whole = *rendered;
  FT_ASSIGN_OR_RETURN(const Targets targets,
                      FindTargets(form.renderer, form.ends, conversation, whole));
  RenderedChat out;
  out.dropped_reasoning = targets.dropped_reasoning;
  const auto append = [&](size_t begin, size_t end, bool target) {
    if (begin == end) return;
    if (out.segments.empty() || out.segments.back().target != target) {
      out.segments.push_back({"", target});
    }
    out.segments.back().text.append(whole.text, begin, end - begin);
  };
  size_t done = 0;
  for (const TextPart& part : targets.parts) {
    append(done, part.begin, false);
    append(part.begin, part.end, true);
    done = part.end;
  }
  append(done, whole.text.size(), false);
  return out;
}

}  // namespace fttrain
