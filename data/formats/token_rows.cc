// Rows of ready-made tokens.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/formats/examples.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

class TokenReader {
 public:
  explicit TokenReader(const RowObject& row)
      : row_(row), vocab_size_(row.context().options.vocab_size) {}

  absl::StatusOr<Example> Read() {
    FT_ASSIGN_OR_RETURN(ids_, Ids("input_ids"));
    end_ = ids_.size();
    labels_ = ids_;
    // null is no wish to learn everything.
    if (row_.Find("labels") != nullptr) {
      FT_ASSIGN_OR_RETURN(labels_, OfAllTokens("labels"));
    }
    FT_RETURN_IF_ERROR(Mask());
    FT_RETURN_IF_ERROR(Positions());
    FT_RETURN_IF_ERROR(Length());
    FT_RETURN_IF_ERROR(TokenTypes());
    FT_RETURN_IF_ERROR(CheckRanges());
    Example example;
    example.source = row_.where();
    example.input_ids = Kept(ids_);
    example.labels = Kept(labels_);
    if (example.input_ids.empty()) return row_.Error("the row has no tokens");
    return example;
  }

 private:
  using Numbers = std::vector<int32_t>;

  Numbers Kept(const Numbers& all) const {
    return Numbers(all.begin() + static_cast<std::ptrdiff_t>(begin_),
                   all.begin() + static_cast<std::ptrdiff_t>(end_));
  }

  absl::StatusOr<Numbers> Ids(absl::string_view name) const {
    FT_ASSIGN_OR_RETURN(const RowJson* const list, row_.Get(name));
    if (!list->is_array()) return row_.WrongType(name, "a list", *list);
    Numbers out;
    out.reserve(list->size());
    for (size_t i = 0; i < list->size(); ++i) {
      const RowJson& value = (*list)[i];
      const auto error = [&](absl::string_view what) {
        return row_.Error(absl::StrCat(row_.Key(name), "[", i, "] ", what));
      };
      if (value.is_boolean() && name == "attention_mask") {
        out.push_back(value.get<bool>() ? 1 : 0);
        continue;
      }
      if (!value.is_number_integer()) {
        return error(absl::StrCat("must be an integer, not ", TypeOf(value)));
      }
      const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= INT32_MAX
                                                   : value.get<int64_t>() >= INT32_MIN;
      if (!fits) return error(absl::StrCat("is ", value.dump(), ", beyond 32 bits"));
      out.push_back(value.get<int32_t>());
    }
    return out;
  }
  // As many as there are tokens.
  absl::StatusOr<Numbers> OfAllTokens(absl::string_view name) const {
    FT_ASSIGN_OR_RETURN(Numbers out, Ids(name));
    if (out.size() == ids_.size()) return out;
    return row_.Error(absl::StrCat(row_.Key(name), " has ", out.size(), " entries and ",
                                   row_.Key("input_ids"), " ", ids_.size()));
  }
  // As above; none where the row has nothing there.
  absl::StatusOr<Numbers> Optional(absl::string_view name) const {
    return row_.Something(name) == nullptr ? Numbers() : OfAllTokens(name);
  }

  // What is masked at either end is padding, whatever its labels say.
  absl::Status Mask() {
    FT_ASSIGN_OR_RETURN(const Numbers mask, Optional("attention_mask"));
    if (mask.empty()) return absl::OkStatus();
    for (size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] == 0 || mask[i] == 1) continue;
      return row_.Error(absl::StrCat(row_.Key("attention_mask"), "[", i, "] is ", mask[i],
                                     ": only 0 (padding) and 1 are read"));
    }
    const auto first = std::find(mask.begin(), mask.end(), 1);
    const auto last = std::find(mask.rbegin(), mask.rend(), 1).base();
    begin_ = static_cast<size_t>(first - mask.begin());
    end_ = std::max(begin_, static_cast<size_t>(last - mask.begin()));
    const auto hole = first == mask.end() ? last : std::find(first, last, 0);
    if (first == mask.end() || hole == last) return absl::OkStatus();
    return row_.Error(absl::StrCat(row_.Key("attention_mask"), "[", hole - mask.begin(),
                                   "] is 0 between tokens that are attended: only padding at the "
                                   "ends is read"));
  }

  // Positions other than those that every row gets say that it is packed, or shifted.
  absl::Status Positions() const {
    FT_ASSIGN_OR_RETURN(const Numbers positions, Optional("position_ids"));
    if (positions.empty()) return absl::OkStatus();
    // Counted from the padding's end or, which is the same to a model of relative positions, from
    // the row's start.
    const bool whole = begin_ < end_ && positions[begin_] != 0;
    for (size_t i = begin_; i < end_; ++i) {
      const int64_t want = static_cast<int64_t>(whole ? i : i - begin_);
      if (positions[i] == want) continue;
      return row_.Error(absl::StrCat(row_.Key("position_ids"), "[", i, "] is ", positions[i],
                                     ", not ", want,
                                     ": rows that are packed already, or count "
                                     "otherwise, are not read"));
    }
    return absl::OkStatus();
  }
  absl::Status Length() const {
    const RowJson* const length = row_.Something("length");
    if (length == nullptr || *length == RowJson(ids_.size()) || *length == RowJson(end_ - begin_)) {
      return absl::OkStatus();
    }
    if (length->is_array() && length->size() == 1 && (*length)[0] == RowJson(ids_.size())) {
      return absl::OkStatus();
    }
    return row_.Error(absl::StrCat(row_.Key("length"), " is ", length->dump().substr(0, 40),
                                   ", but there are ", ids_.size(), " tokens"));
  }
  absl::Status TokenTypes() const {
    FT_ASSIGN_OR_RETURN(const Numbers types, Optional("token_type_ids"));
    if (std::all_of(types.begin(), types.end(), [](int32_t type) { return type == 0; })) {
      return absl::OkStatus();
    }
    return row_.Error(absl::StrCat(row_.Key("token_type_ids"),
                                   " are not all 0: tokens are of one type, take it out"));
  }

  absl::Status CheckRanges() const {
    const auto known = [&](int32_t id) {
      return id >= 0 && (vocab_size_ <= 0 || id < vocab_size_);
    };
    for (size_t i = begin_; i < end_; ++i) {
      if (!known(ids_[i])) {
        return row_.Error(absl::StrCat(row_.Key("input_ids"), "[", i, "] is ", ids_[i],
                                       ", not in [0, ", vocab_size_, ")"));
      }
      if (labels_[i] == kNoTarget || known(labels_[i])) continue;
      return row_.Error(absl::StrCat(row_.Key("labels"), "[", i, "] is ", labels_[i], ", neither ",
                                     kNoTarget, " nor in [0, ", vocab_size_, ")"));
    }
    return absl::OkStatus();
  }

  const RowObject& row_;
  int64_t vocab_size_;
  Numbers ids_, labels_;
  size_t begin_ = 0, end_ = 0;  // what is no padding
};

// Whether labels stand at the token before: the shift, which is made later, would be made twice.
// Few labels, or one token again and again, tell nothing.
void LookForShift(const Example& example, RowNotes* notes) {
  constexpr int64_t kEnough = 8;
  int64_t learnt = 0, same = 0, next = 0;
  for (size_t i = 0; i + 1 < example.labels.size(); ++i) {
    const int32_t label = example.labels[i];
    if (label == kNoTarget) continue;
    ++learnt;
    same += label == example.input_ids[i];
    next += label == example.input_ids[i + 1];
  }
  const auto nearly_all = [&](int64_t count) { return count * 10 >= learnt * 9; };
  notes->labels_tell = learnt >= kEnough && !(nearly_all(same) && nearly_all(next));
  notes->labels_are_shifted = notes->labels_tell && nearly_all(next);
}

}  // namespace

absl::StatusOr<std::vector<Example>> TokenExamples(const RowObject& row) {
  FT_ASSIGN_OR_RETURN(Example example, TokenReader(row).Read());
  LookForShift(example, row.context().notes);
  return std::vector<Example>{std::move(example)};
}

}  // namespace fttrain
