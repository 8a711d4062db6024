#include "data/packing/packer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/packing/order.h"
#include "runtime/files/sha256.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr size_t kLatestEpochs = 2;  // a step may straddle two

// Of an epoch, at most: examples by their length.
std::vector<int64_t> CountByLength(const std::vector<int32_t>& lengths, const Mixture& mixture) {
  std::vector<int64_t> count_of;
  size_t part = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    while (static_cast<int64_t>(i) >= mixture.parts()[part].end) ++part;
    const auto length = static_cast<size_t>(lengths[i]);
    if (length >= count_of.size()) count_of.resize(length + 1, 0);
    count_of[length] += mixture.MostOf(part);
  }
  return count_of;
}

// Of all that decides how examples are packed.
std::string KeyOf(const ExampleList& examples, const RowOptions& options,
                  const std::vector<WeightedPart>& parts, const RowCache& cache) {
  std::string text =
      absl::StrCat("examples ", examples.Digest(0, examples.size()), "\nprogram ", cache.program,
                   "\nsequence_len ", options.sequence_len, "\nfit ", static_cast<int>(options.fit),
                   "\nshuffle ", options.shuffle, "\nseed ", options.seed);
  for (const WeightedPart& part : parts) {
    // Every digit: 0.1 and its neighbours draw otherwise.
    absl::StrAppendFormat(&text, "\npart %d %a", part.end, part.weight);
  }
  return Sha256Hex(text);
}

}  // namespace

int64_t RowsOfStep(const DatasetSummary& data, int64_t step, int64_t rows_per_step) {
  if (data.stream_rows == 0) return rows_per_step;
  return std::clamp<int64_t>(data.stream_rows - step * rows_per_step, 0, rows_per_step);
}

absl::StatusOr<RowStream> RowStream::Create(ExampleList examples, RowOptions options,
                                            std::vector<WeightedPart> parts,
                                            const RowCache& cache) {
  if (options.sequence_len < 2) {
    return absl::InvalidArgumentError(absl::StrCat("data.sequence_len is ", options.sequence_len,
                                                   ": at least 2 tokens make one target"));
  }
  const auto count = static_cast<int64_t>(examples.size());
  if (count == 0) return absl::InvalidArgumentError("the dataset has no examples");
  if (count > kMostExamples) {
    return absl::InvalidArgumentError(
        absl::StrCat("the dataset has ", count, " examples: more than ", kMostExamples));
  }
  if (parts.empty()) parts = {{count, 1}};
  FT_CHECK(parts.back().end == count, "parts end at ", parts.back().end, " of ", count);
  RowStream stream;
  stream.options_ = options;
  stream.mixture_.emplace(parts, options.seed, options.shuffle);
  stream.examples_ = std::move(examples);
  if (options.packing) {
    const bool keeps = !cache.folder.empty();
    stream.kept_rows_.emplace(cache, keeps ? KeyOf(stream.examples_, options, parts, cache) : "");
  }
  FT_RETURN_IF_ERROR(stream.Begin());
  return stream;
}

absl::Status RowStream::Begin() {
  if (options_.packing) {
    const auto pack = [this]() -> absl::StatusOr<PackedRows> {
      FT_ASSIGN_OR_RETURN(const DatasetSummary found, Measure());
      return PackedRows(found, MakeRows(0));
    };
    FT_ASSIGN_OR_RETURN(PackedRows rows, kept_rows_->Get(0, pack));
    summary_ = rows.summary();
    latest_.push_back({0, std::move(rows)});
  } else {
    FT_ASSIGN_OR_RETURN(summary_, Measure());
  }
  summary_.rows = RowsInEpoch(0);
  return absl::OkStatus();
}

absl::StatusOr<DatasetSummary> RowStream::Measure() {
  const bool rows_as_given = !options_.packing && !options_.shuffle && !mixture_->weighs();
  DatasetSummary sum;
  lengths_.reserve(examples_.size());
  for (size_t i = 0; i < examples_.size(); ++i) {
    const ExampleSize size = examples_.SizeOf(i);
    const int64_t full = size.tokens;
    if (full == 0 || size.labels != full) {
      return absl::InvalidArgumentError(
          absl::StrCat(examples_.SourceOf(i), ": ", full, " tokens and ", size.labels, " labels"));
    }
    const int64_t length = std::min(full, options_.sequence_len);
    // Only of one that is cut it takes its tokens to know.
    const bool is_cut = full > length && size.targets > 0;
    const int64_t targets = is_cut ? CountTargets(examples_[i], length) : size.targets;
    sum.longest = std::max(sum.longest, full);
    if (targets == 0 && !rows_as_given) {
      if (sum.dropped++ == 0) {
        kept_.resize(i);
        std::iota(kept_.begin(), kept_.end(), ExampleIndex{0});
      }
      sum.dropped_tokens += full;
      continue;
    }
    ++sum.examples;
    sum.tokens += length;
    sum.targets += targets;
    sum.truncated += full > length;
    sum.cut_tokens += full - length;
    if (sum.dropped > 0) kept_.push_back(static_cast<ExampleIndex>(i));
    lengths_.push_back(static_cast<int32_t>(length));
  }
  if (sum.targets == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("none of the ", examples_.size(), " examples (first: ", examples_.SourceOf(0),
                     ") has a token to learn within data.sequence_len ", options_.sequence_len,
                     ": every label is masked"));
  }
  if (!kept_.empty()) {
    std::vector<WeightedPart> parts = mixture_->parts();
    for (WeightedPart& part : parts) {
      part.end = std::lower_bound(kept_.begin(), kept_.end(), part.end) - kept_.begin();
    }
    mixture_.emplace(parts, options_.seed, options_.shuffle);
  }
  if (mixture_->SizeOf(0) == 0) {
    return absl::InvalidArgumentError(
        "with these weights of data.train an epoch has no example: give larger ones");
  }
  if (options_.packing) {
    sum.most_documents = MostThatFit(CountByLength(lengths_, *mixture_), options_.sequence_len);
  }
  return sum;
}

EpochRows RowStream::MakeRows(int64_t epoch) const {
  std::vector<ExampleIndex> order = mixture_->Epoch(epoch);
  EpochRows rows;
  if (options_.packing) {
    const auto pack = options_.fit == RowFit::kBest ? PackBestFit : PackFirstFit;
    rows = pack(lengths_, order, options_.sequence_len);
  } else {
    rows.begin.resize(order.size() + 1);
    std::iota(rows.begin.begin(), rows.begin.end(), ExampleIndex{0});
    rows.examples = std::move(order);
  }
  for (ExampleIndex& example : rows.examples) example = static_cast<ExampleIndex>(Kept(example));
  return rows;
}

const PackedRows& RowStream::RowsOf(int64_t epoch) {
  for (const LatestEpoch& latest : latest_) {
    if (latest.epoch == epoch) return latest.rows;
  }
  if (latest_.size() == kLatestEpochs) latest_.pop_front();
  const auto make = [&]() -> absl::StatusOr<PackedRows> {
    if (lengths_.empty()) {  // the first epoch's rows were kept
      FT_RETURN_IF_ERROR(Measure().status());
    }
    return PackedRows(summary_, MakeRows(epoch));
  };
  absl::StatusOr<PackedRows> rows = kept_rows_ ? kept_rows_->Get(epoch, make) : make();
  FT_CHECK(rows.ok(), rows.status().ToString());  // the first epoch had its rows
  latest_.push_back({epoch, *std::move(rows)});
  return latest_.back().rows;
}

int64_t RowStream::RowsInEpoch(int64_t epoch) {
  FT_CHECK(epoch >= 0, "epoch ", epoch);
  const auto lock = Lock();
  if (IsEven()) return summary_.examples;
  while (static_cast<int64_t>(epoch_begin_.size()) < epoch + 2) {
    const auto next = static_cast<int64_t>(epoch_begin_.size()) - 1;
    const int64_t rows = options_.packing ? RowsOf(next).size() : mixture_->SizeOf(next);
    epoch_begin_.push_back(epoch_begin_.back() + rows);
  }
  return epoch_begin_[static_cast<size_t>(epoch) + 1] - epoch_begin_[static_cast<size_t>(epoch)];
}

RowStream::Place RowStream::PlaceOf(int64_t stream_row) {
  FT_CHECK(stream_row >= 0, "row ", stream_row);
  if (IsEven()) return {stream_row / summary_.examples, stream_row % summary_.examples};
  while (epoch_begin_.back() <= stream_row) {
    RowsInEpoch(static_cast<int64_t>(epoch_begin_.size()) - 1);
  }
  const auto after = std::upper_bound(epoch_begin_.begin(), epoch_begin_.end(), stream_row);
  const int64_t epoch = after - epoch_begin_.begin() - 1;
  return {epoch, stream_row - epoch_begin_[static_cast<size_t>(epoch)]};
}

int64_t RowStream::EndAfterEpochs(double num_epochs, int64_t rows_per_step) {
  FT_CHECK(num_epochs > 0 && num_epochs < 1e6 && rows_per_step > 0, num_epochs, " epochs, ",
           rows_per_step, " rows per step");
  // A tenth of ten rows is one row, although 1.1 - 1 is a little more than 0.1.
  constexpr double kRounding = 1e-6;
  const int64_t whole = static_cast<int64_t>(std::floor(num_epochs));
  const double fraction = num_epochs - static_cast<double>(whole);
  int64_t rows = 0;
  for (int64_t e = 0; e < whole; ++e) rows += RowsInEpoch(e);
  if (fraction > 0) {
    const double part = fraction * static_cast<double>(RowsInEpoch(whole));
    rows += static_cast<int64_t>(std::ceil(std::max(0.0, part - kRounding)));
  }
  summary_.stream_rows = std::max<int64_t>(1, rows);
  return CeilDivide(summary_.stream_rows, rows_per_step);
}

std::optional<int64_t> RowStream::FirstStepWithoutTarget(int64_t steps,
                                                         int64_t rows_per_step) const {
  if (options_.packing || options_.shuffle || mixture_->weighs()) return std::nullopt;
  const int64_t n = summary_.examples;
  std::vector<int64_t> targets_before = {0};  // of the first rows of an epoch
  for (int64_t i = 0; i < n; ++i) {
    const auto example = static_cast<size_t>(Kept(i));
    const ExampleSize size = examples_.SizeOf(example);
    const int32_t length = lengths_[static_cast<size_t>(i)];
    const int64_t targets =
        size.tokens > length ? CountTargets(examples_[example], length) : size.targets;
    targets_before.push_back(targets_before.back() + targets);
  }
  const auto targets_of_first = [&](int64_t rows) {
    return rows / n * targets_before.back() + targets_before[static_cast<size_t>(rows % n)];
  };
  // Steps n apart hold the same rows, but for the last, which may have fewer.
  for (int64_t step = 0; step < steps; ++step) {
    if (step >= n) step = steps - 1;
    const int64_t first = step * rows_per_step;
    const int64_t rows = RowsOfStep(summary_, step, rows_per_step);
    if (targets_of_first(first + rows) == targets_of_first(first)) return step;
  }
  return std::nullopt;
}

void RowStream::AppendRow(absl::Span<const ExampleIndex> row, int64_t row_in_step,
                          Microbatch* out) const {
  int64_t position = row_in_step * options_.sequence_len;
  for (const ExampleIndex index : row) {
    const Example example = examples_[index];
    out->examples.push_back(index);
    const size_t length =
        std::min(example.input_ids.size(), static_cast<size_t>(options_.sequence_len));
    for (size_t i = 0; i < length; ++i) {
      const int32_t target = i + 1 < length ? example.labels[i + 1] : kNoTarget;
      out->input_ids.push_back(example.input_ids[i]);
      out->targets.push_back(target);
      out->token_index.push_back(position++);
      out->num_targets += target != kNoTarget;
    }
    out->cu_seqlens.push_back(static_cast<int32_t>(out->input_ids.size()));
  }
}

Microbatch RowStream::TrainMicrobatch(int64_t step, const StepShape& shape,
                                      int64_t accumulation_index, int64_t dp_rank) {
  FT_CHECK(accumulation_index >= 0 && accumulation_index < shape.accumulation && dp_rank >= 0 &&
               dp_rank < shape.dp_size && step >= 0,
           "step ", step, " microbatch ", accumulation_index, " dp rank ", dp_rank);
  const auto lock = Lock();
  Microbatch out;
  out.cu_seqlens.push_back(0);
  const int64_t first = (accumulation_index * shape.dp_size + dp_rank) * shape.micro_batch_size;
  const int64_t rows = RowsOfStep(summary_, step, shape.rows_per_step());
  for (int64_t r = first; r < std::min(rows, first + shape.micro_batch_size); ++r) {
    const Place place = PlaceOf(step * shape.rows_per_step() + r);
    if (IsEven()) {
      const EpochOrder order(summary_.examples, options_.seed, place.epoch, options_.shuffle);
      const auto example = static_cast<ExampleIndex>(Kept(order[place.row]));
      AppendRow({&example, 1}, r, &out);
    } else {
      AppendRow(RowsOf(place.epoch)[place.row], r, &out);
    }
  }
  return out;
}

std::vector<Microbatch> RowStream::TrainMicrobatches(int64_t step, const StepShape& shape,
                                                     int64_t dp_rank) {
  std::vector<Microbatch> all;
  for (int64_t a = 0; a < shape.accumulation; ++a) {
    all.push_back(TrainMicrobatch(step, shape, a, dp_rank));
  }
  return all;
}

}  // namespace fttrain
