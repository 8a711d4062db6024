// A folder of token files (token_file.h): a dataset file is turned into tokens once, for all runs
// that would get the same.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "data/formats/dataset.h"
#include "data/text/example_list.h"

namespace fttrain {

struct TokenCache {
  std::string folder;  // is made
  // What decides tokens beside the file and DatasetOptions: tokenizer, template and the program.
  std::string texts;
  std::function<void(const std::string&)> say;  // what takes long; null: nothing is said
};

struct CachedDataset {
  ExampleList examples;
  DatasetReport report;
};

// As LoadDataset, and the same examples, from the file in `cache` that is of the same bytes, texts
// and options; if there is none it is made: written beside and renamed when it is whole, so that
// one that is there is whole however builders ended. Of several processes one builds, the others
// wait, but on a file system without locks, where each builds and the last one stays. A damaged
// file is made anew. Errors as LoadDataset's and, where the cache cannot be written,
// PermissionDenied, ResourceExhausted (a full disk) or Unavailable, which say that data.cache_dir
// decides; DataLoss where the dataset changes meanwhile.
absl::StatusOr<CachedDataset> LoadCached(const DatasetSpec& spec, const DatasetOptions& options,
                                         const TokenCache& cache);

// Of the program that runs: another one may make other tokens.
absl::StatusOr<std::string> DigestOfProgram();

}  // namespace fttrain
