#include "data/chat/borders.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
bool IsWhiteSpace(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

namespace {

// Behind `token`, if at `at` it stands in `text` with nothing but white space before it; else `at`.
size_t Behind(std::string_view text, size_t at, std::string_view token) {
  const size_t found = token.empty() ? std::string_view::npos : text.find(token, at);
  const bool ends = found != std::string_view::npos && IsWhiteSpace(text.substr(at, found - at));
  return ends ? found + token.size() : at;
}

bool IsWordByte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
         (c >= 'A' && c <= 'Z') || c == '_';
}

// How much of `text` is as `other` begins; where they part inside a tag or a word, up to it.
size_t CommonStart(std::string_view text, std::string_view other) {
  const auto parted = std::mismatch(text.begin(), text.end(), other.begin(), other.end());
  auto common = static_cast<size_t>(parted.first - text.begin());
  if (common == text.size() || common == other.size()) return common;
  const size_t open = common == 0 ? std::string_view::npos : text.rfind('<', common - 1);
  if (open != std::string_view::npos && text.find('>', open) >= common) common = open;
  const auto inside = [&] {
    return common > 0 && IsWordByte(text[common - 1]) &&
           (IsWordByte(text[common]) || IsWordByte(other[common]));
  };
  while (inside()) --common;
  return common;
}

// Where in `text`, what follows the last turn's own, the turn is over: behind the token that ends
// it, if only white space follows or what the template writes at the very end of a conversation.
size_t EndOfLast(std::string_view text, const TurnEnds& ends) {
  if (!ends.last.empty()) {
    const bool whole = text.ends_with(ends.tail);
    const size_t at =
        whole ? text.size() - ends.tail.size() + ends.tail.find(ends.last) : text.rfind(ends.last);
    if (at != std::string_view::npos) {
      const size_t behind = at + ends.last.size();
      if (whole || IsWhiteSpace(text.substr(behind))) return behind;
    }
  }
  const size_t end = text.find_last_not_of(" \t\r\n");
  return end != std::string_view::npos && text[end] == '>' ? end + 1 : text.size();
}

// The same for an earlier turn, whose own text may go on up to `own`; `alone` is what follows it
// when it is the last, if that is known.
size_t EndOfEarlier(std::string_view text, size_t own, const absl::StatusOr<std::string>& alone,
                    const TurnEnds& ends) {
  const size_t common = alone.ok() ? std::max(CommonStart(text, *alone), own) : own;
  const std::string_view both = text.substr(0, common);
  const bool all = alone.ok() && common == alone->size();
  for (const std::string& token : {ends.inner, ends.last}) {
    if (token.empty()) continue;
    const size_t final = both.rfind(token), at = both.find(token, own);
    if (at == std::string_view::npos) continue;
    // What is behind the token may be what every turn begins with.
    const bool over = all && IsWhiteSpace(both.substr(final + token.size()));
    return (over ? final : at) + token.size();
  }
  const size_t behind = Behind(text, common, ends.inner);
  if (behind > common) return behind;
  const size_t end = both.find_last_not_of(" \t\r\n");
  const bool marked = end != std::string_view::npos && end >= own && (!all || both[end] == '>');
  return marked ? end + 1 : all ? common : own;
}

}  // namespace

Borders::Borders(const Renderer& renderer, const TurnEnds& ends, const Conversation& conversation,
                 const Rendering& whole, const Sightings& sightings, bool remember)
    : renderer_(renderer),
      ends_(ends),
      conversation_(conversation),
      whole_(whole),
      sightings_(sightings),
      remember_(remember),
      marks_(conversation.messages.size()) {
  const std::vector<Marker::Found>& found = sightings.found();
  for (size_t i = 0; i < found.size(); ++i) {
    const size_t message = sightings.marker().probes()[found[i].probe].message;
    if (message != kNoMessage) marks_[message].push_back(i);
  }
}

std::string_view Borders::TextOf(const Gap& gap) const {
  return std::string_view(whole_.text).substr(gap.begin, gap.end - gap.begin);
}

// What of the gap is not the template's but stands behind the text in the row.
size_t Borders::TrailOf(const Gap& gap) const {
  if (gap.before == nullptr || !gap.before->behind) return 0;
  const std::string& trail = sightings_.marker().probes()[gap.before->probe].trail;
  return TextOf(gap).starts_with(trail) ? trail.size() : 0;
}

std::string Borders::Shape(size_t turn) const {
  const auto role = [&](size_t at) {
    return at < conversation_.messages.size() ? conversation_.messages[at].role : std::string();
  };
  std::string out = absl::StrCat(role(turn - 1), " ", role(turn), " ", role(turn + 1));
  for (const auto& [key, value] : conversation_.messages[turn].more)
    absl::StrAppend(&out, " ", key);
  for (const size_t mark : marks_[turn]) {
    const Probe& probe = sightings_.marker().probes()[sightings_.found()[mark].probe];
    absl::StrAppend(&out, " ", static_cast<int>(probe.kind));
  }
  return absl::StrCat(out, conversation_.messages[turn].null_content ? " none\n" : "\n");
}

namespace {

// Behind the last mark of `text`, which must be *mark (null: there must be none).
absl::StatusOr<std::string> BehindMark(const Marker::Scanned& text, const Marker::Found* mark) {
  const Marker::Found* const last = text.found.empty() ? nullptr : &text.found.back();
  const bool same =
      (last == nullptr) == (mark == nullptr) &&
      (last == nullptr || (last->probe == mark->probe && last->behind == mark->behind));
  if (!same) return absl::NotFoundError("");
  return text.text.substr(last == nullptr ? 0 : last->at);
}

}  // namespace

absl::StatusOr<std::string> Borders::Header(size_t turn, const Gap& gap, bool prompt) const {
  FT_ASSIGN_OR_RETURN(const Rendering before,
                      renderer_.Render(sightings_.DialogFor(turn), turn, prompt));
  return BehindMark(sightings_.marker().Scan(before.text), gap.before);
}

absl::StatusOr<std::string> Borders::PlainHeader(size_t turn, const Gap& gap) const {
  FT_ASSIGN_OR_RETURN(Dialog dialog, sightings_.DialogFor(turn));
  Conversation answer;
  answer.messages.push_back({"assistant", sightings_.marker().Spare()});
  FT_ASSIGN_OR_RETURN(const Dialog plain, MakeDialog(answer, nullptr));
  dialog.messages[turn] = plain.messages[0];
  FT_ASSIGN_OR_RETURN(const Rendering with, renderer_.Render(dialog, turn + 1, false));
  Marker::Scanned scanned = sightings_.marker().Scan(with.text);
  if (scanned.found.empty() || scanned.found.back().probe != sightings_.marker().probes().size()) {
    return absl::NotFoundError("");
  }
  scanned.text.resize(scanned.found.back().at);
  scanned.found.pop_back();
  return BehindMark(scanned, gap.before);
}

absl::StatusOr<std::string> Borders::Tail(size_t turn) const {
  FT_ASSIGN_OR_RETURN(const Rendering with,
                      renderer_.Render(sightings_.DialogFor(turn), turn + 1, false));
  return BehindMark(sightings_.marker().Scan(with.text), &sightings_.found()[marks_[turn].back()]);
}

// Behind the prompt, if the whole has all of it; else behind what of its header the whole has. A
// template that does not ask for an answer (add_generation_prompt) writes the header with the turn:
// there it is what stands before a plain answer, white space left to the answer.
size_t Borders::FindBegin(size_t turn, const Gap& gap) const {
  const std::string_view text = TextOf(gap);
  const absl::StatusOr<std::string> asked = Header(turn, gap, true);
  if (ends_.asks && asked.ok()) {
    if (text.starts_with(*asked)) return asked->size();
    const absl::StatusOr<std::string> unasked = Header(turn, gap, false);
    const size_t common = CommonStart(text, *asked);
    const bool shared = gap.before != nullptr && unasked.ok() && common > unasked->size();
    if (shared) return common;
  }
  const size_t header =
      IsWhiteSpace(ends_.header) ? std::string_view::npos : text.rfind(ends_.header);
  if (ends_.asks && header != std::string_view::npos) return header + ends_.header.size();
  const absl::StatusOr<std::string> plain = PlainHeader(turn, gap);
  if (!plain.ok()) return text.size();
  const size_t common = CommonStart(text, *plain);
  if (ends_.asks || !asked.ok() || !text.starts_with(*asked)) return common;
  const bool bare =
      common >= asked->size() && IsWhiteSpace(text.substr(asked->size(), common - asked->size()));
  return bare ? asked->size() : common;
}

// Gaps that look alike have their border at the same place.
std::string Borders::KeyOf(size_t turn, const Gap& gap, size_t trail) const {
  const size_t neighbour =
      gap.before == nullptr ? 0 : sightings_.marker().probes()[gap.before->probe].message;
  std::string out = Shape(turn);
  out += gap.before == nullptr ? 'f' : neighbour + 1 == turn ? 'n' : 'o';
  return out.append(TextOf(gap).substr(trail));
}

size_t Borders::BeginIn(size_t turn, const Gap& gap) {
  const size_t trail = TrailOf(gap);
  const std::string key = KeyOf(turn, gap, trail);
  const auto known = begins_.find(key);
  if (remember_ && known != begins_.end()) return gap.begin + trail + known->second;
  const size_t found = FindBegin(turn, gap);
  if (found >= trail) begins_[key] = found - trail;
  return gap.begin + found;
}

size_t Borders::EndIn(size_t turn, const Gap& gap) {
  if (turn + 1 == conversation_.messages.size()) return gap.begin + EndOfLast(TextOf(gap), ends_);
  const size_t trail = TrailOf(gap);
  const std::string key = KeyOf(turn, gap, trail);
  const auto known = ends_at_.find(key);
  if (remember_ && known != ends_at_.end()) return gap.begin + trail + known->second;
  const size_t found = EndOfEarlier(TextOf(gap), trail, Tail(turn), ends_);
  if (found >= trail) ends_at_[key] = found - trail;
  return gap.begin + found;
}

// A turn that shows no text of its own, if the whole begins as what is rendered up to it does.
absl::StatusOr<TextPart> Borders::Silent(size_t turn) const {
  FT_ASSIGN_OR_RETURN(const Dialog dialog, MakeDialog(conversation_, nullptr));
  FT_ASSIGN_OR_RETURN(const Rendering before, renderer_.Render(dialog, turn, true));
  FT_ASSIGN_OR_RETURN(const Rendering with, renderer_.Render(dialog, turn + 1, false));
  const std::string_view text = whole_.text;
  const bool kept =
      ends_.asks && with.text.starts_with(before.text) && text.starts_with(before.text);
  if (!kept || with.text.size() == before.text.size()) return absl::NotFoundError("");
  const std::string_view rest = text.substr(before.text.size());
  const size_t length = turn + 1 == conversation_.messages.size()
                            ? EndOfLast(rest, ends_)
                            : EndOfEarlier(rest, 0, with.text.substr(before.text.size()), ends_);
  return TextPart{before.text.size(), before.text.size() + length};
}

void Borders::KeepOwnMarks(size_t turn) {
  using Mark = std::pair<size_t, bool>;
  std::vector<size_t>& own = marks_[turn];
  const auto mark = [&](size_t i) {
    return Mark(sightings_.found()[own[i]].probe, sightings_.found()[own[i]].behind);
  };
  std::map<Mark, int> often;
  bool again = false;
  for (size_t i = 0; i < own.size(); ++i) again |= ++often[mark(i)] > 1;
  if (!again) return;
  const auto with = renderer_.Render(sightings_.DialogFor(turn), turn + 1, false);
  if (!with.ok()) return;
  std::map<Mark, int> alone;
  for (const Marker::Found& found : sightings_.marker().Scan(with->text).found) {
    ++alone[{found.probe, found.behind}];
  }
  for (size_t i = 0; i < own.size(); ++i) {
    if (--alone[mark(i)] < 0 && i > 0) return own.resize(i);
  }
}

absl::StatusOr<TextPart> Borders::Turn(size_t turn) {
  KeepOwnMarks(turn);
  const std::vector<size_t>& own = marks_[turn];
  if (own.empty()) return Silent(turn);
  if (own.back() - own.front() + 1 != own.size()) return absl::FailedPreconditionError("");
  const std::vector<Marker::Found>& found = sightings_.found();
  const bool first = own.front() == 0, last = own.back() + 1 == found.size();
  const Marker::Found* const before = first ? nullptr : &found[own.front() - 1];
  const Gap ahead{before == nullptr ? 0 : before->at, found[own.front()].at, before};
  const Marker::Found* const final = &found[own.back()];
  const Gap behind{final->at, last ? whole_.text.size() : found[own.back() + 1].at, final};
  return TextPart{BeginIn(turn, ahead), EndIn(turn, behind)};
}

}  // namespace fttrain
