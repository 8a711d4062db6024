// The rows of a run's files, read: for training, and for `fttrain data`, which shows them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/packing/statistics.h"
#include "launch/plan/task.h"
#include "launch/run/data_files.h"

namespace fttrain {

// data.cache_dir: auto (files from kCachedBytes on, in the user's cache folder), none, or a folder
// for every file.
struct CacheChoice {
  std::string folder = "none";
  std::function<void(const std::string&)> say = {};  // as TokenCache
};
inline constexpr int64_t kCachedBytes = int64_t{64} << 20;

struct TrainingData {
  std::unique_ptr<Tokenizer> tokenizer;  // null where all rows are ready-made tokens
  std::unique_ptr<ChatTemplate> chat;    // null where no format of theirs needs one
  std::vector<DataFile> files;           // those that are held out last
  ExampleList examples;                  // file by file
  ExampleList held_out;                  // of the files that are, likewise
  std::vector<DatasetReport> reports;    // of each file
  std::vector<int64_t> ends;             // `examples` of the files up to this one
  std::vector<std::string> notes;        // of tokenizer and template
  RowCache rows;                         // of packing, where tokens of a file are kept
};

// The tokenizer and the template are those of `folder`. `vocab_size` are the embedding's rows,
// which every id must be below; 0 where no model is known: then those of the tokenizer. DataLoss
// and NotFound as the readers'.
// `cache`: where files' tokens are kept (token_cache.h) and read from; examples are the same.
absl::StatusOr<TrainingData> ReadTrainingData(const DataTask& task, const std::string& folder,
                                              int64_t vocab_size, int64_t sequence_len,
                                              const CacheChoice& cache = {});

// The files' weights, for the rows of `data`, before these are made of its examples.
std::vector<WeightedPart> PartsOf(const TrainingData& data);

// The rows that are held out of training, one epoch of them in a fixed order, to be read in steps
// of `rows_per_step`: those of files of their own, or a share that leaves `data`. `options` are the
// run's. Null: nothing is held out. InvalidArgument where nothing would be left to learn, or
// nothing of them has a target.
absl::StatusOr<std::shared_ptr<RowStream>> HeldOutRows(const DataTask& task, RowOptions options,
                                                       int64_t rows_per_step, TrainingData& data);

// Tokens at the ends of texts and turns, for statistics of the rows.
EndTokens EndTokensOf(const TrainingData& data, const DataTask& task);

}  // namespace fttrain
