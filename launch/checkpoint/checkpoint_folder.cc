#include "launch/checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "launch/checkpoint/names.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::Status CheckAttempt(int64_t step, const std::string& nonce) {
  const bool plain =
      !nonce.empty() && nonce.size() <= 64 && std::all_of(nonce.begin(), nonce.end(), [](char c) {
        return absl::ascii_isalnum(static_cast<unsigned char>(c));
      });
  if (plain && step >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("checkpoint of step ", step, " with nonce '",
                                                 Printable(nonce),
                                                 "': 1 to 64 letters and digits are needed"));
}

// OK for a folder, which is no link.
absl::Status CheckIsFolder(FileSystem& files, const std::string& path) {
  FT_ASSIGN_OR_RETURN(const std::optional<EntryKind> kind, files.Kind(path));
  if (kind == EntryKind::kFolder) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, kind == EntryKind::kLink ? ": a symbolic link" : ": not a folder",
                   "; move it away, checkpoints are kept in a folder of the run's own"));
}

bool IsDamaged(const absl::Status& status) {
  return absl::IsDataLoss(status) && !IsOtherFormat(status);
}

}  // namespace

CheckpointFolder::CheckpointFolder(FileSystem& files, std::string output_folder)
    : files_(files),
      output_folder_(std::move(output_folder)),
      path_(absl::StrCat(output_folder_, "/checkpoints")) {}

std::string CheckpointFolder::StepPath(int64_t step) const {
  return absl::StrCat(path_, "/", StepName(step));
}

std::string CheckpointFolder::StagingPath(int64_t step, const std::string& nonce) const {
  return absl::StrCat(path_, "/", kTmpPrefix, StepName(step), ".", nonce);
}

std::string CheckpointFolder::TrashPath(int64_t step, const std::string& nonce) const {
  return absl::StrCat(path_, "/", kTrashPrefix, StepName(step), ".", nonce);
}

absl::StatusOr<StagedStep> CheckpointFolder::MakeStaging(int64_t step, const std::string& nonce) {
  FT_RETURN_IF_ERROR(CheckAttempt(step, nonce));
  const absl::Status made = files_.MakeFolder(path_);
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  FT_RETURN_IF_ERROR(CheckIsFolder(files_, path_));
  // Also if it was there: the run that made it may have been killed before this. "/." because the
  // output folder itself may be a link.
  FT_RETURN_IF_ERROR(files_.SyncFolder(absl::StrCat(output_folder_, "/.")));
  if (ReadCommitted(files_, StepPath(step), step).ok()) {
    return absl::AlreadyExistsError(absl::StrCat(StepPath(step), ": is committed already"));
  }
  StagedStep staging{step, nonce, StagingPath(step, nonce)};
  absl::Status status = files_.MakeFolder(staging.path);
  if (absl::IsAlreadyExists(status)) return status;
  if (status.ok()) status = files_.SyncFolder(path_);
  if (status.ok()) return staging;
  files_.RemoveFolder(staging.path).IgnoreError();
  return status;
}

absl::StatusOr<StagedStep> CheckpointFolder::OpenStaging(int64_t step, const std::string& nonce,
                                                         std::chrono::milliseconds patience) {
  FT_RETURN_IF_ERROR(CheckAttempt(step, nonce));
  StagedStep staging{step, nonce, StagingPath(step, nonce)};
  const std::string name = staging.path.substr(path_.size() + 1);
  const auto end = std::chrono::steady_clock::now() + patience;
  for (std::chrono::milliseconds pause(1);; pause = std::min(2 * pause, decltype(pause)(250))) {
    // Listed, not looked up: opening the folder makes NFS ask its server, a name that was once
    // missing stays missing in its cache.
    const absl::StatusOr<std::vector<FolderEntry>> entries = files_.List(path_);
    if (!entries.ok() && !absl::IsNotFound(entries.status())) return entries.status();
    const bool there =
        entries.ok() && std::any_of(entries->begin(), entries->end(),
                                    [&](const FolderEntry& entry) { return entry.name == name; });
    if (there) {
      FT_RETURN_IF_ERROR(CheckIsFolder(files_, staging.path));
      return staging;
    }
    if (std::chrono::steady_clock::now() >= end) break;
    std::this_thread::sleep_for(pause);
  }
  return absl::NotFoundError(absl::StrCat(
      staging.path, ": rank 0 made this folder, and it is not to be seen on this host after ",
      patience.count() / 1000, " s; output_dir must be one folder for all hosts"));
}

absl::Status CheckpointFolder::Commit(const StagedStep& staging, const Manifest& manifest) {
  FT_RETURN_IF_ERROR(CheckAttempt(staging.step, staging.nonce));
  if (manifest.step != staging.step) {
    return absl::InvalidArgumentError(
        absl::StrCat(staging.path, ": a manifest of step ", manifest.step));
  }
  FT_ASSIGN_OR_RETURN(const std::string text, ManifestText(manifest));
  FT_RETURN_IF_ERROR(WriteNewFile(files_, absl::StrCat(staging.path, "/", kManifestName), text));
  FT_RETURN_IF_ERROR(
      WriteNewFile(files_, absl::StrCat(staging.path, "/", kCommitName), CommitText(text)));
  FT_RETURN_IF_ERROR(files_.SyncFolder(staging.path));
  // As a loader will read it: a shard that this host does not see is missing now, not at the
  // resume.
  FT_RETURN_IF_ERROR(ReadCommitted(files_, staging.path, staging.step).status());
  const std::string target = StepPath(staging.step);
  FT_ASSIGN_OR_RETURN(const std::optional<EntryKind> there, files_.Kind(target));
  if (there) {
    const absl::Status known = ReadCommitted(files_, target, staging.step).status();
    if (known.ok()) return absl::AlreadyExistsError(absl::StrCat(target, ": is committed already"));
    // Only what is damaged: what cannot be read today, or by this version, may be sound.
    if (!IsDamaged(known)) return known;
    FT_RETURN_IF_ERROR(files_.Rename(target, TrashPath(staging.step, staging.nonce)));
  }
  absl::Status lasting = files_.Rename(staging.path, target);
  if (lasting.ok()) lasting = files_.SyncFolder(path_);
  // Nobody knows whether the rename lasts (or, from a file server whose answer was lost, whether it
  // happened), so that nobody may say "saved": back, for Abandon.
  if (!lasting.ok()) files_.Rename(target, staging.path).IgnoreError();
  return lasting;
}

absl::Status CheckpointFolder::TakeBack(const StagedStep& committed) {
  FT_RETURN_IF_ERROR(CheckAttempt(committed.step, committed.nonce));
  FT_RETURN_IF_ERROR(files_.Rename(StepPath(committed.step), committed.path));
  return files_.SyncFolder(path_);
}

absl::Status CheckpointFolder::PointLatest(const StagedStep& committed) {
  FT_RETURN_IF_ERROR(CheckAttempt(committed.step, committed.nonce));
  const std::string tmp = absl::StrCat(path_, "/", kTmpPrefix, kLatestName, ".", committed.nonce);
  absl::Status status = WriteNewFile(files_, tmp, StepName(committed.step) + "\n");
  if (status.ok()) status = files_.Replace(tmp, absl::StrCat(path_, "/", kLatestName));
  if (status.ok()) return files_.SyncFolder(path_);
  files_.RemoveFile(tmp).IgnoreError();
  return status;
}

absl::Status CheckpointFolder::Abandon(const StagedStep& staging) {
  FT_RETURN_IF_ERROR(CheckAttempt(staging.step, staging.nonce));
  return RemoveTree(files_, StagingPath(staging.step, staging.nonce));
}

absl::Status CheckpointFolder::CleanUp() {
  const absl::StatusOr<std::vector<FolderEntry>> entries = files_.List(path_);
  if (absl::IsNotFound(entries.status())) return absl::OkStatus();
  if (absl::IsInvalidArgument(entries.status())) {
    FT_RETURN_IF_ERROR(CheckIsFolder(files_, path_));  // which says what to do
  }
  FT_RETURN_IF_ERROR(entries.status());
  // A run that was killed may have renamed without this: what is removed from now on must not come
  // back under its old name, in part.
  FT_RETURN_IF_ERROR(files_.SyncFolder(path_));
  absl::Status first;
  for (const FolderEntry& entry : *entries) {
    if (!IsLeftover(entry.name)) continue;
    const std::string path = absl::StrCat(path_, "/", entry.name);
    first.Update(entry.kind == EntryKind::kFolder ? RemoveTree(files_, path)
                                                  : files_.RemoveFile(path));
  }
  return first;
}

absl::Status CheckpointFolder::Retain(int keep_newest, const std::set<int64_t>& also_keep,
                                      const std::string& nonce) {
  if (keep_newest <= 0) return absl::OkStatus();
  FT_RETURN_IF_ERROR(CheckAttempt(0, nonce));
  FT_ASSIGN_OR_RETURN(const Listing listing, List());
  std::vector<std::string> trash;  // also of an earlier call that failed half-way
  for (const std::string& path : listing.leftovers) {
    if (absl::StartsWith(path, absl::StrCat(path_, "/", kTrashPrefix))) trash.push_back(path);
  }
  for (size_t i = static_cast<size_t>(keep_newest); i < listing.committed.size(); ++i) {
    const int64_t step = listing.committed[i].step;
    if (also_keep.count(step) > 0) continue;
    FT_RETURN_IF_ERROR(files_.Rename(StepPath(step), TrashPath(step, nonce)));
    trash.push_back(TrashPath(step, nonce));
  }
  if (trash.empty()) return absl::OkStatus();
  // Not one file goes before the renames last: a step-N is whole or gone.
  FT_RETURN_IF_ERROR(files_.SyncFolder(path_));
  absl::Status first;
  for (const std::string& path : trash) first.Update(RemoveTree(files_, path));
  return first;
}

absl::StatusOr<Listing> CheckpointFolder::List() {
  const absl::StatusOr<std::vector<FolderEntry>> entries = files_.List(path_);
  if (absl::IsNotFound(entries.status())) return Listing{};
  FT_RETURN_IF_ERROR(entries.status());
  Listing listing;
  for (const FolderEntry& entry : *entries) {
    const std::string path = absl::StrCat(path_, "/", entry.name);
    if (IsLeftover(entry.name)) listing.leftovers.push_back(path);
    if (!absl::StartsWith(entry.name, kStepPrefix)) continue;
    const std::optional<int64_t> step = StepOf(entry.name);
    absl::StatusOr<Committed> committed = absl::DataLossError(
        absl::StrCat(path_, "/", Printable(entry.name), ": not a folder of that name: step-N"));
    if (step && entry.kind == EntryKind::kFolder) committed = ReadCommitted(files_, path, *step);
    if (committed.ok()) {
      listing.committed.push_back(*std::move(committed));
    } else {
      listing.rejected.push_back({path, committed.status()});
    }
  }
  std::sort(listing.committed.begin(), listing.committed.end(),
            [](const Committed& a, const Committed& b) { return a.step > b.step; });
  // By name: of equal length, as those of one run's last steps mostly are, newest first.
  std::reverse(listing.rejected.begin(), listing.rejected.end());
  return listing;
}

}  // namespace fttrain
