#include "launch/run/output_folder.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

constexpr const char* kResults[] = {"metrics.jsonl", "config.yaml", "adapter", "model"};

absl::Status Fail(const std::string& path, const std::error_code& error) {
  const std::string message = absl::StrCat(
      "output_dir ", path, ": cannot write there: ", error.message(), "; choose another folder");
  const bool forbidden =
      error == std::errc::permission_denied || error == std::errc::read_only_file_system;
  return forbidden ? absl::PermissionDeniedError(message) : absl::UnavailableError(message);
}

}  // namespace

absl::Status CheckIsNotMoved(const std::string& key, const std::string& path,
                             const std::string& folder) {
  std::error_code error;
  const fs::path read = fs::weakly_canonical(path, error);
  for (const char* name : kResults) {
    if (error || read != fs::weakly_canonical(fs::path(folder) / name, error)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(key, " ", path, " is a result in output_dir ", folder,
                     ", which this run would move away; choose another output_dir"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> PrepareOutputFolder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Fail(folder, error);
  const fs::path probe = fs::path(folder) / ".writable";
  FT_RETURN_IF_ERROR(WriteFileAtomically(probe.string(), "fttrain\n"));
  fs::remove(probe, error);

  std::string previous;
  for (const char* name : kResults) {
    const fs::path old = fs::path(folder) / name;
    if (!fs::exists(fs::symlink_status(old, error))) continue;
    if (previous.empty()) {
      int k = 1;
      while (fs::exists(fs::path(folder) / absl::StrCat("previous-", k))) ++k;
      previous = (fs::path(folder) / absl::StrCat("previous-", k)).string();
      fs::create_directory(previous, error);
      if (error) return Fail(previous, error);
    }
    fs::rename(old, fs::path(previous) / name, error);
    if (error) return Fail(previous, error);
  }
  return previous;
}

absl::Status MakeScratchFolder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("memory.scratch_folder ", folder, ": cannot make it: ",
                                             error.message(), "; choose another folder"));
}

}  // namespace fttrain
