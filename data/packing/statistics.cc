#include "data/packing/statistics.h"

#include <algorithm>
#include <compare>
#include <utility>

#include "absl/hash/hash.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

void Count(bool found, size_t example, FoundIn* finding) {
  if (!found) return;
  if (finding->examples++ == 0) finding->first = static_cast<int64_t>(example);
}

// Finds examples that were there before, of millions: 12 bytes each, not their tokens.
class SeenBefore {
 public:
  explicit SeenBefore(size_t examples) { seen_.reserve(examples); }

  void Add(const Example& example, size_t index) {
    const auto hash = uint64_t{absl::HashOf(example.input_ids, example.labels)};
    seen_.push_back({static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(hash),
                     static_cast<ExampleIndex>(index)});
  }

  // Of those that are equal to one before.
  FoundIn Find(const ExampleList& examples) && {
    std::sort(seen_.begin(), seen_.end());
    FoundIn found;
    for (size_t first = 0, end = 0; first < seen_.size(); first = end) {
      while (end < seen_.size() && SameHash(seen_[first], seen_[end])) ++end;
      if (end == first + 1) continue;
      const Example one = examples[seen_[first].index];
      for (size_t i = first + 1; i < end; ++i) {
        const Example other = examples[seen_[i].index];
        if (one.input_ids != other.input_ids || one.labels != other.labels) continue;
        const auto index = static_cast<int64_t>(seen_[i].index);
        found.first = found.examples++ == 0 ? index : std::min(found.first, index);
      }
    }
    return found;
  }

 private:
  struct Seen {
    uint32_t high, low;  // of its hash: halves, for no space is between them and the index
    ExampleIndex index;
    auto operator<=>(const Seen&) const = default;
  };
  static bool SameHash(const Seen& a, const Seen& b) { return a.high == b.high && a.low == b.low; }

  std::vector<Seen> seen_;
};

bool IsTarget(const Example& example, int64_t i) {
  return example.labels[static_cast<size_t>(i)] != kNoTarget;
}

struct Stretches {
  bool open_end = false, empty = false;
};

// A stretch of targets ends at `length` - 1 only where the example does: else it is cut, and
// counted as that.
Stretches LookAtStretches(const Example& example, int64_t length, const EndTokens& tokens) {
  const int64_t full = static_cast<int64_t>(example.input_ids.size());
  Stretches out;
  if (tokens.ends.empty() || CountTargets(example, full) == full - 1) return out;
  for (int64_t i = 1; i < length; ++i) {
    const bool ends = i + 1 < full ? !IsTarget(example, i + 1) : true;
    if (!IsTarget(example, i) || !ends) continue;
    const int32_t id = example.input_ids[static_cast<size_t>(i)];
    const bool end = std::find(tokens.ends.begin(), tokens.ends.end(), id) != tokens.ends.end();
    if (!end) out.open_end = true;
    if (end && !IsTarget(example, i - 1)) out.empty = true;
  }
  return out;
}

}  // namespace

std::vector<LengthBin> LengthBins(const std::vector<int32_t>& lengths) {
  std::vector<LengthBin> bins;
  if (lengths.empty()) return bins;
  const auto [shortest, longest] = std::minmax_element(lengths.begin(), lengths.end());
  for (int64_t from = 1, to = 16; from <= *longest; from = to + 1, to *= 2) {
    if (to >= *shortest) bins.push_back({from, to});
  }
  for (const int64_t length : lengths) {
    const auto bin =
        std::find_if(bins.begin(), bins.end(), [&](const LengthBin& b) { return length <= b.to; });
    ++bin->examples;
  }
  return bins;
}

DatasetStatistics StatisticsOf(RowStream& rows, int64_t rows_per_step, const EndTokens& tokens) {
  DatasetStatistics out;
  out.summary = rows.summary();
  const ExampleList& examples = rows.examples();
  const int64_t sequence_len = rows.options().sequence_len;
  std::vector<int32_t> lengths;
  lengths.reserve(examples.size());
  SeenBefore seen(examples.size());
  for (size_t i = 0; i < examples.size(); ++i) {
    const Example example = examples[i];
    const int64_t full = static_cast<int64_t>(example.input_ids.size());
    const int64_t length = std::min(full, sequence_len), all = CountTargets(example, full);
    lengths.push_back(static_cast<int32_t>(full));
    Count(all == 0, i, &out.without_target);
    seen.Add(example, i);
    Count(all > CountTargets(example, length), i, &out.cut_targets);
    Count(tokens.bos && full >= 2 && example.input_ids[0] == *tokens.bos &&
              example.input_ids[1] == *tokens.bos,
          i, &out.double_bos);
    const Stretches stretches = LookAtStretches(example, length, tokens);
    Count(stretches.open_end, i, &out.open_ends);
    Count(stretches.empty, i, &out.empty_answers);
  }
  out.duplicates = std::move(seen).Find(examples);
  out.lengths = LengthBins(lengths);
  std::sort(lengths.begin(), lengths.end());
  out.shortest = lengths.front();
  out.median = lengths[(lengths.size() - 1) / 2];
  out.rows_per_step = rows_per_step;
  out.steps_per_epoch = CeilDivide(rows.RowsInEpoch(0), rows_per_step);
  out.next_epoch_rows = out.steps_per_epoch * rows_per_step - rows.RowsInEpoch(0);
  return out;
}

}  // namespace fttrain
