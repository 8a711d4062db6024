#include "data/tokenizer/encoder.h"

#include <algorithm>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Runs along the marks of one text as its tokens come.
class MarkCursor {
 public:
  MarkCursor(const std::vector<Mark>& marks, SegmentedIds* out) : marks_(marks), out_(out) {}

  // Segments that end at `at` or before have all their tokens.
  void Meet(size_t at) {
    for (; next_ < marks_.size() && marks_[next_].high <= at; ++next_) End(next_);
  }
  void MeetAll() {
    for (; next_ < marks_.size(); ++next_) End(next_);
  }
  // Appends a token that covers [begin, end).
  void Push(int32_t id, size_t begin, size_t end) {
    Meet(begin);
    size_t behind = next_;  // the first mark behind the token
    while (behind < marks_.size() && marks_[behind].low < end) ++behind;
    if (behind > next_) {
      out_->shared.push_back({static_cast<int64_t>(out_->ids.size()),
                              static_cast<int64_t>(marks_[next_].segment),
                              static_cast<int64_t>(marks_[behind - 1].segment) + 1});
    }
    out_->ids.push_back(id);
  }
  // The marks of [begin, end), relative to it, for whoever encodes that. They are passed, but for
  // those that reach behind it.
  std::vector<Mark> Inside(size_t begin, size_t end) {
    Meet(begin);
    std::vector<Mark> inside;
    for (size_t i = next_; i < marks_.size() && marks_[i].low < end; ++i) {
      const Mark& mark = marks_[i];
      inside.push_back(
          {std::max(mark.low, begin) - begin, std::min(mark.high, end) - begin, mark.segment});
      if (mark.high <= end) next_ = i + 1;
    }
    return inside;
  }

 private:
  void End(size_t mark) {
    out_->ends[marks_[mark].segment] = static_cast<int64_t>(out_->ids.size());
  }

  const std::vector<Mark>& marks_;
  SegmentedIds* out_;
  size_t next_ = 0;
};

bool IsInsideCharacter(std::string_view text, size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// How many bytes of `text` stand in front of what `end` does not end with.
size_t BehindOther(std::string_view text, std::string_view end) {
  const auto [a, b] = std::mismatch(text.rbegin(), text.rend(), end.rbegin(), end.rend());
  size_t at = static_cast<size_t>(text.rend() - a);
  while (IsInsideCharacter(text, at)) ++at;
  return at;
}

size_t CommonStart(std::string_view text, std::string_view start) {
  const auto [a, b] = std::mismatch(text.begin(), text.end(), start.begin(), start.end());
  size_t at = static_cast<size_t>(a - text.begin());
  while (IsInsideCharacter(text, at)) --at;
  return at;
}

// Marks after `change`. A border is exact if the changed text begins with what `change` makes of
// the part before it. Otherwise characters were joined over the border: what is neither from the
// part before nor from that behind, each changed alone, is of both.
template <typename Change>
absl::StatusOr<std::vector<Mark>> MoveMarks(std::string_view before, std::string_view after,
                                            const std::vector<Mark>& marks, const Change& change) {
  const auto move = [&](size_t at) -> absl::StatusOr<std::pair<size_t, size_t>> {
    if (at == 0) return std::pair<size_t, size_t>(0, 0);
    if (at == before.size()) return std::pair(after.size(), after.size());
    FT_ASSIGN_OR_RETURN(const std::string start, change(before.substr(0, at)));
    if (after.starts_with(start)) return std::pair(start.size(), start.size());
    FT_ASSIGN_OR_RETURN(const std::string end, change(before.substr(at)));
    return std::pair<size_t, size_t>(
        std::minmax({CommonStart(after, start), BehindOther(after, end)}));
  };
  std::vector<Mark> moved;
  for (const Mark& mark : marks) {
    FT_ASSIGN_OR_RETURN(auto low, move(mark.low));
    auto high = low;
    if (mark.high != mark.low) {
      FT_ASSIGN_OR_RETURN(high, move(mark.high));
    }
    if (!moved.empty()) {
      low.first = std::max(low.first, moved.back().low);
      high.second = std::max(high.second, moved.back().high);
    }
    moved.push_back({low.first, high.second, mark.segment});
  }
  return moved;
}

}  // namespace

template <typename Between>
absl::Status Encoder::Sections(std::string_view text, bool normalized,
                               const std::vector<Mark>& marks, const Between& between) {
  std::vector<AddedTokens::Section> sections;
  t_.added.Split(text, normalized, &sections);
  MarkCursor cursor(marks, out_);
  for (const AddedTokens::Section& s : sections) {
    if (s.id >= 0) {
      cursor.Push(s.id, s.begin, s.end);
      continue;
    }
    const std::vector<Mark> inside = cursor.Inside(s.begin, s.end);
    FT_RETURN_IF_ERROR(between(text.substr(s.begin, s.end - s.begin), s.begin == 0, inside));
  }
  cursor.MeetAll();
  return absl::OkStatus();
}

absl::Status Encoder::Text(std::string_view text, const std::vector<Mark>& marks) {
  return Sections(text, /*normalized=*/false, marks,
                  [&](std::string_view part, bool at_start, const std::vector<Mark>& inside) {
                    return Raw(part, at_start, inside);
                  });
}

absl::StatusOr<std::string> Encoder::Normalized(std::string_view raw, bool at_start) {
  if (t_.spaces.has_value()) return t_.spaces->Apply(raw, at_start || t_.prefix_everywhere);
  return t_.normalizer.Apply(raw, &scratch_->regex);
}

absl::Status Encoder::Raw(std::string_view raw, bool at_start, const std::vector<Mark>& raw_marks) {
  std::string normalized;
  std::string_view text = raw;
  std::vector<Mark> marks = raw_marks;
  if (t_.spaces.has_value() || !t_.normalizer.identity()) {
    FT_ASSIGN_OR_RETURN(normalized, Normalized(raw, at_start));
    text = normalized;
    FT_ASSIGN_OR_RETURN(marks, MoveMarks(raw, text, raw_marks, [&](std::string_view s) {
                          return Normalized(s, at_start);
                        }));
  }
  return Sections(text, /*normalized=*/true, marks,
                  [&](std::string_view part, bool first, const std::vector<Mark>& inside) {
                    return Mapped(part, at_start && first, inside);
                  });
}

absl::Status Encoder::Mapped(std::string_view text, bool at_start,
                             const std::vector<Mark>& text_marks) {
  if (!t_.pre.maps()) return Words(text, text_marks);
  const std::string mapped = t_.pre.Map(text, at_start);
  FT_ASSIGN_OR_RETURN(
      const std::vector<Mark> marks,
      MoveMarks(text, mapped, text_marks, [&](std::string_view s) -> absl::StatusOr<std::string> {
        return t_.pre.Map(s, at_start);
      }));
  return Words(mapped, marks);
}

absl::Status Encoder::Words(std::string_view mapped, const std::vector<Mark>& marks) {
  FT_RETURN_IF_ERROR(t_.pre.Cut(mapped, &scratch_->words));
  std::vector<Piece>& pieces = scratch_->pieces;
  MarkCursor cursor(marks, out_);
  for (const PreTokenizer::Word& word : scratch_->words.words) {
    pieces.clear();
    t_.model->Encode(word.text, &scratch_->model, &pieces);
    size_t done = 0;
    for (const Piece& piece : pieces) {
      const size_t begin = word.begin + (done > word.inserted ? done - word.inserted : 0);
      done += piece.bytes;
      const size_t end = word.begin + (done > word.inserted ? done - word.inserted : 0);
      cursor.Push(piece.id, begin, end);
    }
  }
  cursor.MeetAll();
  return absl::OkStatus();
}

}  // namespace fttrain
