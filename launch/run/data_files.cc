#include "launch/run/data_files.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

bool IsPattern(const std::string& path) {
  std::error_code error;
  return path.find_first_of("*?[") != std::string::npos && !std::filesystem::exists(path, error);
}

absl::StatusOr<std::vector<std::string>> Matches(const std::string& pattern,
                                                 const std::string& key) {
  const std::string shown = absl::StrCat(key, ".path ", Printable(pattern));
  if (absl::StrContains(pattern, "**")) {
    return absl::InvalidArgumentError(
        absl::StrCat(shown, ": ** is not known: write * for each folder, as in data/*/*.jsonl"));
  }
  glob_t found = {};
  const int result = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> paths;
  std::error_code error;
  for (size_t i = 0; result == 0 && i < found.gl_pathc; ++i) {
    const std::string path = found.gl_pathv[i];
    if (std::filesystem::is_regular_file(path, error)) paths.push_back(path);
  }
  globfree(&found);
  if (paths.empty()) return absl::NotFoundError(absl::StrCat(shown, ": no file matches"));
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::Status Add(const std::vector<DatasetSpec>& specs, bool is_learnt,
                 std::vector<DataFile>& files) {
  for (size_t i = 0; i < specs.size(); ++i) {
    DataFile file{specs[i], absl::StrCat(is_learnt ? "data.train[" : "data.eval[", i, "]"),
                  is_learnt, i};
    std::vector<std::string> paths = {file.spec.path};
    if (IsPattern(file.spec.path)) {
      FT_ASSIGN_OR_RETURN(paths, Matches(file.spec.path, file.key));
    }
    for (std::string& path : paths) {
      file.spec.path = std::move(path);
      files.push_back(file);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<DataFile>> DataFilesOf(const DataTask& task) {
  std::vector<DataFile> files;
  FT_RETURN_IF_ERROR(Add(task.files, true, files));
  FT_RETURN_IF_ERROR(Add(task.held_out_files, false, files));
  return files;
}

}  // namespace fttrain
