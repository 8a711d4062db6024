// The files that data.train and data.eval stand for.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/plan/task.h"

namespace fttrain {

struct DataFile {
  DatasetSpec spec;  // of one file
  std::string key;   // "data.train[0]", "data.eval[1]"
  bool is_learnt = true;
  size_t source = 0;  // of the task's files, or of those that are held out
};

// Those to learn, then those that are held out, each in the order of their keys. A path with *, ?
// or [ in it that no file has stands for the files that match it as a shell's pattern, in the order
// of their names' bytes. NotFound where none does, InvalidArgument for a pattern with **.
absl::StatusOr<std::vector<DataFile>> DataFilesOf(const DataTask& task);

}  // namespace fttrain
