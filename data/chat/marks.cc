#include "data/chat/marks.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "data/chat/jinja/text.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr size_t kSaltDigits = 8, kIndexDigits = 6;
constexpr std::string_view kOpen = "<think>", kClose = "</think>";

// To base 9: the 9 in front of a mark stands nowhere else in it, so two never overlap.
std::string Digits(uint64_t number, size_t count) {
  std::string out(count, '0');
  for (size_t i = count; i-- > 0; number /= 9) out[i] = static_cast<char>('0' + number % 9);
  return out;
}

struct Piece {
  size_t begin, end;  // of the text, without the white space and tags around it
  size_t limit;       // where the next piece may begin
  bool thought;
};

// Bytes of a tag such as <|im_end|> at the start of `text`, or 0.
size_t TagLength(std::string_view text) {
  constexpr size_t kLongest = 64;
  if (!text.starts_with('<')) return 0;
  const size_t end = text.substr(0, kLongest).find_first_of("<> \t\r\n", 1);
  return end == std::string_view::npos || end < 2 || text[end] != '>' ? 0 : end + 1;
}

// Bytes of a tag at the end of `text`, or 0.
size_t TagBehind(std::string_view text) {
  if (!text.ends_with('>')) return 0;
  const size_t begin = text.rfind('<');
  if (begin == std::string_view::npos) return 0;
  return TagLength(text.substr(begin)) == text.size() - begin ? text.size() - begin : 0;
}

// text[begin, limit) as a piece; none if it is white space.
void AddPiece(std::string_view text, size_t begin, size_t limit, bool thought,
              std::vector<Piece>* out) {
  const auto strip = [](std::string_view of) { return jinja::Strip(of, nullptr, true, true); };
  const std::string_view all = strip(text.substr(begin, limit - begin));
  if (all.empty()) return;
  std::string_view inner = all;
  while (const size_t length = TagLength(inner)) inner = strip(inner.substr(length));
  while (const size_t length = TagBehind(inner)) {
    inner = strip(inner.substr(0, inner.size() - length));
  }
  if (inner.empty()) inner = all;  // nothing but tags
  const auto at = static_cast<size_t>(inner.data() - text.data());
  out->push_back({at, at + inner.size(), limit, thought});
}

// What an assistant thinks and what it says then.
std::vector<Piece> PiecesOf(const TextPlace& place, bool assistant, std::string_view text) {
  std::vector<Piece> out;
  size_t begin = 0;
  bool thought = false;
  while (assistant && place.kind == TextKind::kContent) {
    const size_t close = text.find(kClose, begin);
    const size_t open = thought ? std::string_view::npos : text.find(kOpen, begin);
    if (close == std::string_view::npos && open == std::string_view::npos) break;
    const bool opens = open < close;
    const size_t at = opens ? open : close, length = opens ? kOpen.size() : kClose.size();
    AddPiece(text, begin, at, !opens, &out);
    begin = at + length;
    thought = opens;
  }
  AddPiece(text, begin, text.size(), thought, &out);
  return out;
}

bool IsAssistant(const Conversation& conversation, const TextPlace& place) {
  return place.message != kNoMessage && conversation.messages[place.message].role == "assistant";
}

}  // namespace

Marker::Marker(const Conversation& conversation, std::string_view text)
    : conversation_(conversation) {
  ForEachText(conversation, [&](const TextPlace& place, const std::string& from) {
    for (const Piece& piece : PiecesOf(place, IsAssistant(conversation, place), from)) {
      const TextKind kind = piece.thought ? TextKind::kReasoning : place.kind;
      probes_.push_back({place.message, kind, std::string(place.key), place.item, false,
                         from.substr(piece.begin, piece.end - piece.begin),
                         from.substr(piece.end, piece.limit - piece.end)});
    }
  });
  const std::vector<Message>& messages = conversation.messages;
  std::vector<char> speaks(messages.size(), 0);
  for (const Probe& probe : probes_) {
    if (probe.message != kNoMessage) speaks[probe.message] = 1;
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    if (speaks[i] != 0 || !messages[i].learn || messages[i].null_content) continue;
    probes_.push_back({i, TextKind::kContent, "content", 0, true, "", messages[i].content});
  }
  const auto stands = [&](const std::string& salt) {
    return text.find(salt) != std::string_view::npos ||
           std::any_of(probes_.begin(), probes_.end(), [&](const Probe& probe) {
             return probe.text.find(salt) != std::string::npos;
           });
  };
  constexpr uint64_t kFirst = 20260731, kTries = 1000;
  for (uint64_t i = 0; i < kTries; ++i) {
    salt_ = "9" + Digits(kFirst + i, kSaltDigits);
    if (!stands(salt_)) break;
  }
}

size_t Marker::Length() const { return salt_.size() + kIndexDigits + 1; }

std::string Marker::MarkOf(size_t probe, bool behind) const {
  return salt_ + Digits(probe, kIndexDigits) + (behind ? "1" : "0");
}

absl::StatusOr<Dialog> Marker::Marked(const std::function<bool(size_t probe)>& wanted) const {
  size_t next = 0;
  const Rewrite mark = [&](const TextPlace& place, const std::string& from) {
    const std::vector<Piece> pieces = PiecesOf(place, IsAssistant(conversation_, place), from);
    std::string out;
    out.reserve(from.size() + 2 * pieces.size() * Length());
    size_t done = 0;
    for (const Piece& piece : pieces) {
      const size_t probe = next++;
      if (!wanted(probe)) continue;
      out.append(from, done, piece.begin - done);
      out += MarkOf(probe, false);
      out.append(from, piece.begin, piece.end - piece.begin);
      out += MarkOf(probe, true);
      done = piece.end;
    }
    return out.append(from, done);
  };
  const auto blank = [&](size_t i) { return probes_[i].blank && wanted(i); };
  size_t first = 0;
  while (first < probes_.size() && !blank(first)) ++first;
  if (first == probes_.size()) return MakeDialog(conversation_, mark);
  FT_ASSIGN_OR_RETURN(Dialog out, MakeDialog(conversation_, mark));
  for (size_t i = first; i < probes_.size(); ++i) {
    if (!blank(i)) continue;
    const size_t at = probes_[i].message;
    Conversation one;
    one.messages = {conversation_.messages[at]};
    one.messages[0].content = MarkOf(i, false) + MarkOf(i, true) + one.messages[0].content;
    FT_ASSIGN_OR_RETURN(const Dialog dialog, MakeDialog(one, nullptr));
    out.messages[at] = dialog.messages[0];
  }
  return out;
}

Marker::Scanned Marker::Scan(std::string_view text) const {
  const size_t length = Length();
  Scanned out;
  out.text.reserve(text.size());
  size_t done = 0;
  for (size_t at; (at = text.find(salt_, done)) != std::string_view::npos;) {
    const std::string_view digits = text.substr(at).substr(0, length).substr(salt_.size());
    size_t probe = 0;
    for (const char digit : digits.substr(0, kIndexDigits)) {
      probe = probe * 9 + static_cast<size_t>(digit - '0');
    }
    if (digits.size() != kIndexDigits + 1 || probe > probes_.size()) break;  // cut by the template
    out.text += text.substr(done, at - done);
    out.found.push_back({probe, digits.back() == '1', out.text.size()});
    done = at + length;
  }
  out.text += text.substr(done);
  return out;
}

}  // namespace fttrain
