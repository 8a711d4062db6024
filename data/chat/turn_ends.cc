// How a template ends turns.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "data/chat/borders.h"
#include "data/chat/jinja/text.h"

namespace fttrain {
namespace {

constexpr const char* kAnswer = "9140627835140627";

// The token that `text` begins with behind white space: an added one of the tokenizer or, not
// `known`, what is written as one, <...>.
struct FirstToken {
  std::string text;
  bool known = false;
};

FirstToken FirstTokenOf(std::string_view text, const Tokenizer& tokenizer) {
  text = jinja::Strip(text, nullptr, true, false);
  const auto ids = tokenizer.Encode(text, false);
  for (const int32_t id : ids.ok() ? *ids : std::vector<int32_t>()) {
    const std::string token = tokenizer.Decode({&id, 1}, false);
    if (IsWhiteSpace(token)) continue;
    if (tokenizer.IsAddedToken(id)) return {token, true};
    break;
  }
  const size_t end = text.find_first_of("> \n\t<", 1);
  if (!text.starts_with('<') || end == std::string_view::npos || text[end] != '>') return {};
  return {std::string(text.substr(0, end + 1)), false};
}

// Of several tokens without gaps that are all there is behind a last answer, and stand behind
// others, too, the last; none if there is something else.
FirstToken LastOfRun(std::string_view alone, std::string_view followed,
                     const Tokenizer& tokenizer) {
  const std::string_view run = jinja::Strip(alone, nullptr, false, true);
  if (!followed.starts_with(run)) return {};
  FirstToken end;
  for (std::string_view rest = run; !rest.empty(); rest.remove_prefix(end.text.size())) {
    end = FirstTokenOf(rest, tokenizer);
    if (!end.known || !rest.starts_with(end.text)) return {};
  }
  return end;
}

// Renders conversations of a question, an answer and so on, by their roles.
class Samples {
 public:
  Samples(const Renderer& renderer, TurnEnds* ends) : renderer_(renderer), ends_(ends) {}

  absl::StatusOr<std::string> Text(const std::vector<std::string>& roles, bool prompt) const {
    Conversation sample;
    for (const std::string& role : roles) {
      sample.messages.push_back({role, role == "assistant" ? kAnswer : "question"});
    }
    auto rendered = renderer_.Render(MakeDialog(sample, nullptr), prompt);
    if (!rendered.ok()) return rendered.status();
    ends_->asked_date |= rendered->asked_date;
    ends_->tagged |= !rendered->generation.empty();
    return std::move(rendered->text);
  }

  // Behind the last answer.
  absl::StatusOr<std::string> Tail(const std::vector<std::string>& roles, bool prompt) const {
    const auto text = Text(roles, prompt);
    const size_t at = text.ok() ? text->rfind(kAnswer) : std::string::npos;
    if (at == std::string::npos) return absl::NotFoundError("");
    return text->substr(at + std::string_view(kAnswer).size());
  }

 private:
  const Renderer& renderer_;
  TurnEnds* ends_;
};

}  // namespace

// The first token behind an answer: of the last turn as it is; of an earlier one if it is no part
// of the next turn, that is if it stands there whatever follows. A template asks for an answer if
// its prompt, which may always be written, is no part of a conversation that goes on otherwise.
absl::StatusOr<TurnEnds> FindTurnEnds(const Renderer& renderer, const Tokenizer& tokenizer) {
  TurnEnds out;
  const Samples samples(renderer, &out);
  const auto first = [&](const absl::StatusOr<std::string>& text) {
    return text.ok() ? FirstTokenOf(*text, tokenizer) : FirstToken();
  };
  const auto asked = samples.Text({"user"}, true), unasked = samples.Text({"user"}, false);
  const auto users = samples.Text({"user", "user"}, false);
  out.asks = !asked.ok() || !unasked.ok() || *asked != *unasked ||
             (users.ok() && !users->starts_with(*asked));
  const auto alone = samples.Tail({"user", "assistant"}, false);
  const auto followed = samples.Tail({"user", "assistant", "user"}, false);
  out.tail = alone.value_or("");
  if (asked.ok() && unasked.ok() && asked->starts_with(*unasked)) {
    out.header = asked->substr(unasked->size());
  }
  const FirstToken run =
      alone.ok() && followed.ok() ? LastOfRun(*alone, *followed, tokenizer) : FirstToken();
  const FirstToken last = run.known ? run : first(alone);
  const FirstToken inner = run.known || !followed.ok() ? last : first(followed);
  const bool own =
      inner.text == last.text ||
      inner.text == first(samples.Tail({"user", "assistant"}, true)).text ||
      inner.text == first(samples.Tail({"user", "assistant", "assistant"}, false)).text;
  for (const FirstToken& token : {last, own ? inner : FirstToken()}) {
    if (token.text.empty() || token.known) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "chat template ", renderer.name(), " ends a turn with ", token.text,
        ", which the tokenizer does not have as a token: add it, or set data.chat_template"));
  }
  out.last = last.text;
  out.inner = own ? inner.text : "";
  return out;
}

}  // namespace fttrain
