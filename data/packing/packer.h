// Examples -> rows -> microbatches, a pure function of (examples, options, step, rank): every
// layout trains on the same rows in the same order, and a run's position is its step number.
//   epoch e: the examples in the order EpochOrder(n, seed, e) gives; where files have weights,
//   those
//     that Mixture gives (mixture.h). With packing each goes whole into a row with room for it, the
//     first (first fit) or the fullest (best fit); rows hold at most sequence_len tokens; without
//     packing a row is one example. Longer examples keep their first sequence_len tokens.
//   stream: rows of epoch 0, 1, 2, ...; step s takes rows [s * R, (s + 1) * R), R = rows_per_step.
//     A step that an epoch's end cuts is filled from the next epoch's start, but for one in which
//     the stream ends (EndAfterEpochs): that one has the rows that are left.
//   rank: microbatch a of dp rank d is the micro_batch_size rows from (a * dp + d) *
//     micro_batch_size of the step on; where the stream has ended, fewer of them or none.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "data/packing/mixture.h"
#include "data/packing/packed_rows.h"
#include "data/text/example_list.h"

namespace fttrain {

// Documents back to back, no padding. T tokens, D documents.
struct Microbatch {
  std::vector<int32_t> input_ids;  // [T]
  // [T]: the next token's label within the document, kNoTarget for its last token.
  std::vector<int32_t> targets;
  std::vector<int32_t> cu_seqlens;  // [D + 1]: document j begins at token cu_seqlens[j]
  std::vector<int64_t> examples;    // [D]: of which it is, among RowStream::examples()
  // [T]: (row in the step) * sequence_len + position in it: a token's name in every layout.
  std::vector<int64_t> token_index;
  int64_t num_targets = 0;
};

enum class RowFit { kFirst, kBest };

struct RowOptions {
  int64_t sequence_len = 0;
  bool packing = true;
  bool shuffle = true;
  uint64_t seed = 0;
  RowFit fit = RowFit::kFirst;  // of packing
};

struct StepShape {
  int64_t micro_batch_size = 1;
  int64_t accumulation = 1;
  int64_t dp_size = 1;
  int64_t rows_per_step() const { return micro_batch_size * accumulation * dp_size; }
};

// Rows that step `step` takes of the stream: rows_per_step, but for the step in which it ends.
int64_t RowsOfStep(const DatasetSummary& data, int64_t step, int64_t rows_per_step);

// The sequence of rows, endless unless EndAfterEpochs is called. Keeps the rows of the two latest
// epochs. Threads that ask for rows at once wait for each other.
class RowStream {
 public:
  // Examples without a target after truncation are dropped, except with packing and shuffle both
  // off, where the rows are the file's rows exactly. `parts`: of all examples, of which some have a
  // weight; none: an epoch has every example once. `cache`: where packed rows are kept, which are
  // the same. InvalidArgument if sequence_len < 2, there are no examples or more than
  // kMostExamples, one is empty or has labels of another length, no example has a target, or an
  // epoch of these weights has none.
  static absl::StatusOr<RowStream> Create(ExampleList examples, RowOptions options,
                                          std::vector<WeightedPart> parts = {},
                                          const RowCache& cache = {});

  const DatasetSummary& summary() const { return summary_; }
  const RowOptions& options() const { return options_; }
  const ExampleList& examples() const { return examples_; }  // as given, with dropped ones

  int64_t RowsInEpoch(int64_t epoch);
  // Ends the stream after num_epochs > 0 epochs, of a fraction after as many rows, rounded up, so
  // that no example is learnt more often. Returns the steps it takes: ceil(rows / rows_per_step).
  int64_t EndAfterEpochs(double num_epochs, int64_t rows_per_step);

  // The first of the run's `steps` steps of which no row has a target, if there is one. Where rows
  // are the file's rows exactly such a step may be; elsewhere examples without targets are dropped.
  std::optional<int64_t> FirstStepWithoutTarget(int64_t steps, int64_t rows_per_step) const;

  // Microbatch `accumulation_index` of `dp_rank` in optimizer step `step`.
  Microbatch TrainMicrobatch(int64_t step, const StepShape& shape, int64_t accumulation_index,
                             int64_t dp_rank);
  // All microbatches of `dp_rank` in the step, in order.
  std::vector<Microbatch> TrainMicrobatches(int64_t step, const StepShape& shape, int64_t dp_rank);

 private:
  struct Place {
    int64_t epoch, row;
  };
  struct LatestEpoch {
    int64_t epoch;
    PackedRows rows;
  };

  RowStream() = default;
  // Finds the lengths and the order of the examples, where they are not known yet.
  absl::StatusOr<DatasetSummary> Measure();
  absl::Status Begin();  // of the summary and the first epoch
  // Whether every epoch has each example once, as a row.
  bool IsEven() const { return !options_.packing && !mixture_->weighs(); }
  int64_t Kept(int64_t i) const { return kept_.empty() ? i : kept_[static_cast<size_t>(i)]; }
  std::unique_lock<std::recursive_mutex> Lock() const {
    return std::unique_lock<std::recursive_mutex>(*mutex_);
  }
  Place PlaceOf(int64_t stream_row);  // O(epochs before it) the first time
  EpochRows MakeRows(int64_t epoch) const;
  const PackedRows& RowsOf(int64_t epoch);
  void AppendRow(absl::Span<const ExampleIndex> row, int64_t row_in_step, Microbatch* out) const;

  ExampleList examples_;
  RowOptions options_;
  DatasetSummary summary_;
  std::vector<ExampleIndex> kept_;       // dataset indices; empty: all are kept
  std::vector<int32_t> lengths_;         // of those that are kept, cut to sequence_len
  std::optional<Mixture> mixture_;       // of those; of all while there are no lengths
  std::optional<KeptRows> kept_rows_;    // of packing
  std::vector<int64_t> epoch_begin_{0};  // stream row at which epoch e begins, as far as known
  std::deque<LatestEpoch> latest_;
  std::unique_ptr<std::recursive_mutex> mutex_ = std::make_unique<std::recursive_mutex>();
};

}  // namespace fttrain
