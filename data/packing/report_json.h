// What is told of a dataset file and known of all its examples, as text.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "data/formats/dataset.h"
#include "data/text/example_list.h"

namespace fttrain {

struct StoredReport {
  DatasetReport report;  // but path and why: of the reader
  std::string digest, key;
  TokenUse use;
};

// `source` is the file's path in words: texts that begin with it are read back with the path that
// the file has then.
std::string ReportJson(const StoredReport& stored, const std::string& source);
absl::StatusOr<StoredReport> ParseReportJson(const std::string& text, const std::string& source);

}  // namespace fttrain
