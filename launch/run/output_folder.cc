#include "launch/run/output_folder.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

constexpr const char* kResults[] = {
    "metrics.jsonl", "config.yaml", "adapter",     "model",       "checkpoints",  "run_status.json",
    "errors",        "memory.json", "report.html", "tensorboard", "samples.jsonl"};

absl::Status Fail(const std::string& path, const std::error_code& error) {
  const std::string message = absl::StrCat(
      "output_dir ", path, ": cannot write there: ", error.message(), "; choose another folder");
  const bool forbidden =
      error == std::errc::permission_denied || error == std::errc::read_only_file_system;
  if (forbidden) return absl::PermissionDeniedError(message);
  return WithExitCode(absl::UnavailableError(message), kExitCannotCreate);
}

// What was copied is on disk before its original is removed.
std::error_code SyncFileSystemOf(const fs::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && syncfs(descriptor) == 0;
  const std::error_code error(synced ? 0 : errno, std::generic_category());
  if (descriptor >= 0) close(descriptor);
  return error;
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

FolderCalls SystemsOwn() {
  FolderCalls system;
  system.rename = [](const fs::path& from, const fs::path& to) {
    std::error_code error;
    fs::rename(from, to, error);
    return error;
  };
  system.free_bytes = [](const std::string& folder) -> std::optional<int64_t> {
    struct statvfs space;
    // One that has no blocks, as some network file systems, has not counted them.
    if (statvfs(folder.c_str(), &space) != 0 || space.f_blocks == 0) return std::nullopt;
    return static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  };
  return system;
}

absl::StatusOr<std::unique_ptr<OutputFolder>> OutputFolder::Open(const std::string& folder,
                                                                 FolderCalls system) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Fail(folder, error);
  FT_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, LockFolder(folder));
  const fs::path probe = fs::path(folder) / ".writable";
  const absl::Status probed = WriteFileAtomically(probe.string(), "fttrain\n");
  if (absl::IsUnavailable(probed)) return WithExitCode(probed, kExitCannotCreate);
  FT_RETURN_IF_ERROR(probed);
  fs::remove(probe, error);
  return absl::WrapUnique(new OutputFolder(folder, std::move(system), std::move(lock)));
}

absl::Status OutputFolder::CheckRoom(int64_t bytes) const {
  const std::optional<int64_t> free = system_.free_bytes(folder_);
  if (!free || *free >= bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "output_dir ", folder_, ": the run's result takes about ", bytes, " bytes, and ", *free,
      " are free there; free ", bytes - *free, " more, or choose a folder on another file system"));
}

// A folder that lies in a lower layer of an overlay, or is mounted, cannot be renamed.
std::error_code OutputFolder::Move(const fs::path& from, const fs::path& to) const {
  std::error_code error = system_.rename(from, to);
  if (error != std::errc::cross_device_link) return error;
  error.clear();
  std::error_code ignored;
  const fs::path part = to.string() + ".part";
  fs::copy(from, part, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
  if (!error) error = SyncFileSystemOf(to.parent_path());
  if (!error) error = SystemsOwn().rename(part, to);
  if (error) {
    fs::remove_all(part, ignored);
    return error;
  }
  fs::remove_all(from, error);
  return error;
}

absl::StatusOr<std::string> OutputFolder::KeepEarlierResults() {
  std::error_code error;
  std::vector<fs::path> results;
  // Of a run that never committed any.
  if (fs::is_empty(fs::path(folder_) / "checkpoints", error)) {
    fs::remove(fs::path(folder_) / "checkpoints", error);
  }
  for (const char* name : kResults) {
    if (fs::exists(fs::symlink_status(fs::path(folder_) / name, error))) results.push_back(name);
  }
  if (results.empty()) return std::string();
  int k = 1;
  while (fs::exists(fs::symlink_status(fs::path(folder_) / absl::StrCat("previous-", k), error))) {
    ++k;
  }
  const fs::path previous = fs::path(folder_) / absl::StrCat("previous-", k);
  fs::create_directory(previous, error);
  if (error) return Fail(previous.string(), error);
  for (size_t i = 0; i < results.size(); ++i) {
    error = Move(fs::path(folder_) / results[i], previous / results[i]);
    if (!error) continue;
    while (i-- > 0) Move(previous / results[i], fs::path(folder_) / results[i]);
    std::error_code ignored;
    fs::remove(previous, ignored);
    return Fail(previous.string(), error);
  }
  return previous.string();
}

absl::Status MakeScratchFolder(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("memory.scratch_folder ", folder, ": cannot make it: ",
                                             error.message(), "; choose another folder"));
}

}  // namespace fttrain
