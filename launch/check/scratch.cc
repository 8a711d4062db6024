#include "launch/check/scratch.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launch/exit_code.h"
#include "launch/saving/result.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

// `folder` and its parents that are not there, the deepest first.
std::vector<fs::path> NotThere(const std::string& folder) {
  std::error_code error;
  std::vector<fs::path> missing;
  for (fs::path path = fs::absolute(folder, error).lexically_normal();
       !fs::exists(fs::symlink_status(path, error)) && path.has_relative_path();
       path = path.parent_path()) {
    if (path.has_filename()) missing.push_back(path);
  }
  return missing;
}

// Where a new folder may be made, the best first: on the disk of the results.
std::vector<fs::path> Places(const std::string& output_folder) {
  std::error_code error;
  const std::vector<fs::path> missing = NotThere(output_folder);
  const fs::path top =
      missing.empty() ? fs::absolute(output_folder, error).lexically_normal() : missing.back();
  fs::path beside = top.has_filename() ? top.parent_path() : top.parent_path().parent_path();
  const char* const temporary = std::getenv("TMPDIR");
  return {std::move(beside), temporary != nullptr && *temporary != '\0' ? temporary : "/tmp"};
}

absl::StatusOr<std::string> MakeFolder(const std::string& output_folder) {
  std::vector<std::string> failed;
  for (const fs::path& place : Places(output_folder)) {
    std::string name = (place / ".fttrain-check-XXXXXX").string();
    if (mkdtemp(name.data()) != nullptr) return name;
    failed.push_back(absl::StrCat(place.string(), ": ", std::strerror(errno)));
  }
  return WithExitCode(
      absl::UnavailableError(absl::StrCat("no folder can be made for the check's own files (",
                                          absl::StrJoin(failed, "; "), "); set TMPDIR")),
      kExitCannotCreate);
}

}  // namespace

absl::Status ProbeOutput(const TrainPlan& plan) {
  const std::vector<fs::path> made = NotThere(plan.output.folder);
  absl::Status status;
  {
    const auto output = OutputFolder::Open(plan.output.folder);
    status = output.ok() ? CheckRoom(plan, **output) : output.status();
  }
  std::error_code ignored;  // of a folder that others have put something into
  for (const fs::path& path : made) {
    if (fs::is_directory(path, ignored)) fs::remove(path, ignored);
  }
  return status;
}

absl::StatusOr<std::unique_ptr<Scratch>> Scratch::Make(const std::string& output_folder,
                                                       int64_t bytes, const Process& process) {
  absl::StatusOr<std::string> made = std::string();
  if (process.rank() == 0) made = MakeFolder(output_folder);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made.status()));
  auto scratch = absl::WrapUnique(new Scratch(process.BroadcastString(*made), nullptr, process));
  absl::Status opened;
  if (process.rank() == 0) {
    auto folder = OutputFolder::Open(scratch->path_);
    opened = folder.ok() ? (*folder)->CheckRoom(bytes) : folder.status();
    if (folder.ok()) scratch->folder_ = *std::move(folder);
  }
  opened = process.AgreeOnStatus(opened);
  if (opened.ok()) return scratch;
  scratch->Remove();
  return opened;
}

// One after the other: two that remove the same files would each find some gone.
void Scratch::Remove() {
  folder_.reset();
  process_.Barrier();
  const auto remove = [&] {
    std::error_code error;
    fs::remove_all(path_, error);
    if (error) LogError(absl::StrCat("cannot remove ", path_, ": ", error.message()));
  };
  if (process_.rank() == 0) remove();
  process_.Barrier();
  if (process_.rank() != 0 && process_.local_rank() == 0) remove();  // of a host without this disk
  process_.Barrier();
}

}  // namespace fttrain
