#include "data/tokenizer/encoder.h"

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::Status Straddles(std::string_view token, size_t segment) {
  return absl::InvalidArgumentError(
      absl::StrCat("token '", Printable(token), "' covers the end of part ", segment + 1,
                   " and the start of the next, so no mask can lie between them"));
}

// Marks of [begin, end) relative to it; those at `begin` or before are met by what is encoded so
// far. `next` runs along.
std::vector<Mark> TakeMarks(const std::vector<Mark>& marks, size_t begin, size_t end, size_t* next,
                            SegmentedIds* out) {
  std::vector<Mark> inside;
  for (; *next < marks.size() && marks[*next].at < end; ++*next) {
    if (marks[*next].at <= begin) {
      out->ends[marks[*next].segment] = static_cast<int64_t>(out->ids.size());
    } else {
      inside.push_back({marks[*next].at - begin, marks[*next].segment});
    }
  }
  return inside;
}

void MeetRest(const std::vector<Mark>& marks, size_t next, SegmentedIds* out) {
  for (; next < marks.size(); ++next) {
    out->ends[marks[next].segment] = static_cast<int64_t>(out->ids.size());
  }
}

// Marks after `change`, which must turn each text before a mark into a prefix of what it turns the
// whole into.
template <typename Change>
absl::StatusOr<std::vector<Mark>> MoveMarks(std::string_view before, std::string_view after,
                                            const std::vector<Mark>& marks, const Change& change) {
  std::vector<Mark> moved;
  for (const Mark& mark : marks) {
    if (mark.at == before.size()) {
      moved.push_back({after.size(), mark.segment});
      continue;
    }
    FT_ASSIGN_OR_RETURN(const std::string prefix, change(before.substr(0, mark.at)));
    if (after.substr(0, prefix.size()) != prefix) {
      return Straddles(before.substr(mark.at > 8 ? mark.at - 8 : 0, 16), mark.segment);
    }
    moved.push_back({prefix.size(), mark.segment});
  }
  return moved;
}

}  // namespace

template <typename Between>
absl::Status Encoder::Sections(std::string_view text, bool normalized,
                               const std::vector<Mark>& marks, const Between& between) {
  std::vector<AddedTokens::Section> sections;
  t_.added.Split(text, normalized, &sections);
  size_t next = 0;
  for (const AddedTokens::Section& s : sections) {
    const std::vector<Mark> inside = TakeMarks(marks, s.begin, s.end, &next, out_);
    const std::string_view part = text.substr(s.begin, s.end - s.begin);
    if (s.id < 0) {
      FT_RETURN_IF_ERROR(between(part, s.begin == 0, inside));
    } else {
      if (!inside.empty()) return Straddles(part, inside[0].segment);
      out_->ids.push_back(s.id);
    }
  }
  MeetRest(marks, next, out_);
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
  size_t next = 0;
  for (const PreTokenizer::Word& word : scratch_->words.words) {
    pieces.clear();
    t_.model->Encode(word.text, &scratch_->model, &pieces);
    size_t done = 0;
    for (const Piece& piece : pieces) {
      const size_t begin = word.begin + (done > word.inserted ? done - word.inserted : 0);
      done += piece.bytes;
      const size_t end = word.begin + (done > word.inserted ? done - word.inserted : 0);
      for (; next < marks.size() && marks[next].at < end; ++next) {
        if (marks[next].at > begin) return Straddles(t_.Spelling(piece.id), marks[next].segment);
        out_->ends[marks[next].segment] = static_cast<int64_t>(out_->ids.size());
      }
      out_->ids.push_back(piece.id);
    }
  }
  MeetRest(marks, next, out_);
  return absl::OkStatus();
}

}  // namespace fttrain
