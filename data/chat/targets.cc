// What of a rendered conversation is to be learnt: found by rendering it again with less or other
// text in it.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/text.h"
#include "data/chat/template.h"
#include "data/text/unicode.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// What a message's content becomes to see where it goes, between two noncharacters: no template
// writes it by itself.
std::string MarkOf(size_t message) {
  return absl::StrCat("\xEF\xB7\x90", "message ", message, "\xEF\xB7\x91");
}

// Shorter text may stand in a template's own words by chance.
constexpr size_t kTelling = 16;

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

std::string_view Stripped(const Message& message) {
  return jinja::Strip(message.content, nullptr, true, true);
}

// Whether `text` has the message's content for certain.
bool Has(std::string_view text, const Message& message) {
  const std::string_view content = Stripped(message);
  return content.size() >= kTelling && text.find(content) != std::string_view::npos;
}

std::vector<Message> Marked(absl::Span<const Message> messages, size_t turn) {
  std::vector<Message> out(messages.begin(), messages.end());
  out[turn].content = MarkOf(turn);
  return out;
}

// Behind `token`, if at `at` it stands in `text` with nothing but white space before it; else `at`.
size_t Behind(std::string_view text, size_t at, std::string_view token) {
  const size_t found = token.empty() ? std::string_view::npos : text.find(token, at);
  const bool ends = found != std::string_view::npos && IsWhiteSpace(text.substr(at, found - at));
  return ends ? found + token.size() : at;
}

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

void Append(std::string_view text, bool target, std::vector<ChatSegment>* out) {
  if (text.empty()) return;
  if (out->empty() || out->back().target != target) out->push_back({"", target});
  out->back().text += text;
}

}  // namespace

// The first token behind an answer: of the last turn as it is; of an earlier one if it is no part
// of the next turn, that is if it stands there whatever follows. A template asks for an answer if
// its prompt, which may always be written, is no part of a conversation that goes on otherwise.
absl::Status ChatTemplate::FindEndOfTurn(const Tokenizer& tokenizer) {
  const std::string mark = MarkOf(1);
  const Message user = {"user", "question"}, answer = {"assistant", mark};
  const auto tail = [&](const std::vector<Message>& more, bool prompt) {
    std::vector<Message> messages = {user, answer};
    messages.insert(messages.end(), more.begin(), more.end());
    const auto text = TextOf(messages, prompt);
    const size_t at = text.ok() ? text->rfind(mark) : std::string::npos;
    return at == std::string::npos ? absl::StatusOr<std::string>(absl::NotFoundError(""))
                                   : text->substr(at + mark.size());
  };
  const auto first = [&](const absl::StatusOr<std::string>& text) {
    return text.ok() ? FirstTokenOf(*text, tokenizer) : FirstToken();
  };
  const auto asked = TextOf({&user, 1}, true), unasked = TextOf({&user, 1}, false);
  const auto users = TextOf(std::vector<Message>{user, user}, false);
  asks_ = !asked.ok() || !unasked.ok() || *asked != *unasked ||
          (users.ok() && !users->starts_with(*asked));
  const absl::StatusOr<std::string> alone = tail({}, false), followed = tail({user}, false);
  tail_ = alone.value_or("");
  const FirstToken last = first(alone), inner = followed.ok() ? first(followed) : last;
  const bool own = inner.text == last.text || inner.text == first(tail({}, true)).text ||
                   inner.text == first(tail({answer}, false)).text;
  for (const FirstToken& token : {last, own ? inner : FirstToken()}) {
    if (token.text.empty() || token.known) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "chat template ", name_, " ends a turn with ", token.text,
        ", which the tokenizer does not have as a token: add it, or set data.chat_template"));
  }
  last_end_ = last.text;
  inner_end_ = own ? inner.text : "";
  const auto tagged = RenderWhole(std::vector<Message>{user, answer}, false);
  if (tagged.ok() && !tagged->generation.empty())
    return absl::OkStatus();  // it says what is learnt
  if (end_of_turn().empty()) {
    notes_.push_back(absl::StrCat("chat template ", name_,
                                  " ends no turn with a token: where to stop is not learnt"));
  } else if (last_end_.empty() || inner_end_.empty()) {
    notes_.push_back(absl::StrCat("chat template ", name_, " writes no token behind ",
                                  last_end_.empty() ? "the last turn" : "turns before the last",
                                  ": where to stop is not learnt there"));
  }
  return absl::OkStatus();
}

// Where a turn that adds text[begin, end) is over: behind the token that ends a last turn, if only
// white space follows or what the template writes at the very end of a conversation; else behind
// the token that follows.
size_t ChatTemplate::EndOfTurn(const std::string& text, size_t begin, size_t end, bool last) const {
  const std::string_view added = std::string_view(text).substr(begin, end - begin);
  if (!last_end_.empty()) {
    const bool whole = added.ends_with(tail_);
    const size_t at =
        whole ? added.size() - tail_.size() + tail_.find(last_end_) : added.rfind(last_end_);
    if (at != std::string_view::npos) {
      const size_t behind = at + last_end_.size();
      if (whole || IsWhiteSpace(added.substr(behind))) return begin + behind;
    }
  }
  return last ? end : Behind(text, end, inner_end_);
}

absl::Status ChatTemplate::AnswerNotFound(size_t turn) const {
  return absl::InvalidArgumentError(absl::StrCat(
      "message ", turn, ": its answer is not found in what chat template ", name_, " writes"));
}

// What the turn adds to the conversation before it, the header of the answer counted there, if the
// turns that follow leave it as it is. Otherwise what of the text changes with the turn's content,
// and the end-of-turn token behind it. A template that does not ask for an answer
// (add_generation_prompt) writes the header with the turn: there all before the content but white
// space is header.
absl::StatusOr<ChatTemplate::Part> ChatTemplate::Target(absl::Span<const Message> messages,
                                                        size_t turn,
                                                        const std::string& text) const {
  const bool last = turn + 1 == messages.size();
  const absl::StatusOr<std::string> before =
      turn == 0 ? absl::NotFoundError("") : TextOf(messages.subspan(0, turn), true);
  const absl::StatusOr<std::string> with = TextOf(messages.subspan(0, turn + 1), false);
  const bool header = before.ok() && text.starts_with(*before);
  const bool kept = header && with.ok() && with->starts_with(*before) && text.starts_with(*with);
  Part part{0, 0};
  if (kept) {
    part = {before->size(), EndOfTurn(text, before->size(), with->size(), last)};
    const auto target = std::string_view(text).substr(part.begin, part.end - part.begin);
    if (asks_ && Has(target, messages[turn])) return part;
  }
  const std::string mark = MarkOf(turn);
  FT_ASSIGN_OR_RETURN(const std::string other, TextOf(Marked(messages, turn), false));
  const size_t at = other.find(mark);
  if (at == std::string::npos || other.find(mark, at + 1) != std::string::npos) {
    return AnswerNotFound(turn);
  }
  const size_t behind = other.size() - at - mark.size();
  if (CommonEnd(text, other) < behind || (kept && at < part.begin)) return AnswerNotFound(turn);
  if (kept && asks_) return part;
  const size_t end = text.size() - behind;
  part.begin = std::min({at, CommonStart(text, other), end});
  if (header && before->size() <= part.begin) {
    const std::string_view between =
        std::string_view(text).substr(before->size(), part.begin - before->size());
    if (asks_ || IsWhiteSpace(between)) part.begin = before->size();
  }
  if (!kept) part.end = Behind(text, end, last ? last_end_ : inner_end_);
  return part;
}

// What a {% generation %} block wrote has the answer in it.
absl::Status ChatTemplate::CheckGeneration(absl::Span<const Message> messages, size_t turn,
                                           const Whole& whole, size_t block) const {
  const auto in = [block](const Whole& all) {
    const Part part = all.generation[block];
    return std::string_view(all.text).substr(part.begin, part.end - part.begin);
  };
  if (Has(in(whole), messages[turn])) return absl::OkStatus();
  const auto other = RenderWhole(Marked(messages, turn), false);
  const bool found = other.ok() && other->generation.size() == whole.generation.size() &&
                     in(*other).find(MarkOf(turn)) != std::string_view::npos;
  return found ? absl::OkStatus() : AnswerNotFound(turn);
}

absl::StatusOr<std::vector<ChatTemplate::Part>> ChatTemplate::Targets(
    absl::Span<const Message> messages, const Whole& whole) const {
  std::vector<size_t> answers;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "assistant") answers.push_back(i);
  }
  const bool tagged = whole.generation.size() == answers.size() && !whole.captured;
  std::vector<Part> parts;
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!messages[answers[i]].learn) continue;
    if (tagged) {
      FT_RETURN_IF_ERROR(CheckGeneration(messages, answers[i], whole, i));
      parts.push_back(whole.generation[i]);
      continue;
    }
    FT_ASSIGN_OR_RETURN(const Part part, Target(messages, answers[i], whole.text));
    parts.push_back(part);
  }
  return parts;
}

// All contents are marked in one rendering, and each alone where that does not show it: a template
// may look at what it is told.
absl::Status ChatTemplate::CheckNothingIsLeftOut(absl::Span<const Message> messages,
                                                 const std::string& text) const {
  std::vector<Message> marked(messages.begin(), messages.end());
  for (size_t i = 0; i < marked.size(); ++i) {
    if (!Stripped(marked[i]).empty()) marked[i].content = MarkOf(i);
  }
  const absl::StatusOr<std::string> all = TextOf(marked, false);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string mark = MarkOf(i);
    if (Stripped(messages[i]).empty() || (all.ok() && all->find(mark) != std::string::npos)) {
      continue;
    }
    const absl::StatusOr<std::string> one = TextOf(Marked(messages, i), false);
    if (one.ok() ? one->find(mark) != std::string::npos : Has(text, messages[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "message ", i, " (", messages[i].role, "): chat template ", name_,
        " leaves it out: take it out of the row, or set data.chat_template to one that writes it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(const Conversation& conversation) const {
  const std::vector<Message>& messages = conversation.messages;
  if (messages.empty()) return absl::InvalidArgumentError("a conversation needs a message");
  FT_ASSIGN_OR_RETURN(const Whole whole, RenderWhole(messages, false));
  FT_ASSIGN_OR_RETURN(const std::vector<Part> parts, Targets(messages, whole));
  FT_RETURN_IF_ERROR(CheckNothingIsLeftOut(messages, whole.text));
  const std::string_view text = whole.text;
  RenderedChat out;
  size_t done = 0;
  for (const Part& part : parts) {
    if (part.begin < done || part.end < part.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat("chat template ", name_, " writes the turns in another order"));
    }
    Append(text.substr(done, part.begin - done), false, &out.segments);
    Append(text.substr(part.begin, part.end - part.begin), true, &out.segments);
    done = part.end;
  }
  Append(text.substr(done), false, &out.segments);
  return out;
}

}  // namespace fttrain
