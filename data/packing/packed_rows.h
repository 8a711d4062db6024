// The rows of packed epochs, in memory or in files: packing millions of examples takes seconds,
// which every start of a run, every rank of it and every epoch would take again.
//   magic, version, sizes, key (64 bytes); the dataset's summary, as it lies in memory; begin [rows
//   + 1] and examples, 4 bytes each; a SHA-256 of all that
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/packing/fit.h"
#include "runtime/files/file_system.h"

namespace fttrain {

// Over all examples, each once, after truncation and dropping.
struct DatasetSummary {
  int64_t examples = 0;  // kept
  int64_t tokens = 0;
  int64_t targets = 0;         // after the shift
  int64_t truncated = 0;       // kept, but cut to sequence_len
  int64_t dropped = 0;         // without a target once cut
  int64_t cut_tokens = 0;      // of the truncated ones, those behind sequence_len
  int64_t dropped_tokens = 0;  // of the dropped ones, before cutting
  int64_t longest = 0;         // tokens of the longest example before cutting
  int64_t rows = 0;            // of epoch 0; packed epochs may differ by a few
  int64_t stream_rows = 0;     // after which the stream ends; 0: it does not
  int64_t most_documents = 1;  // of a row of any epoch, at most: of the shortest that fit
};

// Where rows of epochs are kept; no folder: nowhere. `program`: another one may pack otherwise.
struct RowCache {
  std::string folder, program;
};

// One epoch's. Cheap to copy.
class PackedRows {
 public:
  PackedRows(DatasetSummary summary, EpochRows rows);

  const DatasetSummary& summary() const { return summary_; }
  int64_t size() const { return static_cast<int64_t>(begin_.size()) - 1; }
  // The examples of row r.
  absl::Span<const ExampleIndex> operator[](int64_t r) const;

 private:
  friend class KeptRows;
  PackedRows() = default;

  std::shared_ptr<const void> memory_;
  DatasetSummary summary_;
  absl::Span<const ExampleIndex> begin_, examples_;
};

// The files of a dataset that is packed in one way, which `key` (64 bytes) tells apart from others.
class KeptRows {
 public:
  KeptRows(const RowCache& cache, const std::string& key) : folder_(cache.folder), key_(key) {}

  using Pack = std::function<absl::StatusOr<PackedRows>()>;
  // The rows of the epoch: from its file, else what `pack` makes, which is written. Of several
  // processes one packs and the others wait. A damaged file is made anew, and what cannot be
  // written is packed by each. Errors are those of `pack`.
  absl::StatusOr<PackedRows> Get(int64_t epoch, const Pack& pack) const;

 private:
  absl::StatusOr<PackedRows> Open(const std::string& path) const;
  absl::Status Write(FileSystem& files, const std::string& path, const PackedRows& rows) const;

  std::string folder_, key_;
};

}  // namespace fttrain
