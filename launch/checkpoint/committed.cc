#include "launch/checkpoint/committed.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "launch/checkpoint/names.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxCommitBytes = 256;

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

// What is missing or no file is damage; what cannot be read today is not.
absl::Status AsDamage(const absl::Status& status) {
  const bool damage = absl::IsNotFound(status) || absl::IsInvalidArgument(status);
  return damage ? absl::DataLossError(status.message()) : status;
}

absl::StatusOr<Manifest> ReadManifest(FileSystem& files, const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kManifestName);
  const std::string commit_path = absl::StrCat(folder, "/", kCommitName);
  const absl::StatusOr<std::string> commit = ReadAll(files, commit_path, kMaxCommitBytes);
  FT_RETURN_IF_ERROR(AsDamage(commit.status()));
  const absl::StatusOr<std::string> text = ReadAll(files, path, kMaxManifestBytes);
  FT_RETURN_IF_ERROR(AsDamage(text.status()));
  if (*commit != CommitText(*text)) {
    return Damaged(commit_path, "is not the hash of manifest.json, one of the two is damaged");
  }
  absl::StatusOr<Manifest> manifest = ParseManifest(*text, path);
  FT_RETURN_IF_ERROR(AsDamage(manifest.status()));
  return manifest;
}

}  // namespace

absl::StatusOr<Committed> ReadCommitted(FileSystem& files, const std::string& path, int64_t step) {
  const absl::StatusOr<std::vector<FolderEntry>> entries = files.List(path);
  FT_RETURN_IF_ERROR(AsDamage(entries.status()));
  for (const FolderEntry& entry : *entries) {
    if (entry.kind != EntryKind::kLink) continue;
    return Damaged(absl::StrCat(path, "/", Printable(entry.name)),
                   "a symbolic link, which no checkpoint has");
  }
  Committed committed{step, path, {}};
  FT_ASSIGN_OR_RETURN(committed.manifest, ReadManifest(files, path));
  if (committed.manifest.step != step) {
    return Damaged(absl::StrCat(path, "/", kManifestName),
                   absl::StrCat("step: it is of step ", committed.manifest.step, ", not ", step));
  }
  for (const ManifestFile& file : committed.manifest.files) {
    const std::string inner = absl::StrCat(path, "/", file.name);
    const absl::StatusOr<int64_t> bytes = files.Size(inner);
    FT_RETURN_IF_ERROR(AsDamage(bytes.status()));
    if (*bytes != file.bytes) {
      return Damaged(inner, absl::StrCat("has ", *bytes, " bytes, not ", file.bytes));
    }
  }
  return committed;
}

absl::Status VerifyFile(FileSystem& files, const Committed& checkpoint, const ManifestFile& file) {
  const std::string path = absl::StrCat(checkpoint.path, "/", file.name);
  const absl::StatusOr<std::string> hash = Sha256OfFile(files, path, file.bytes);
  FT_RETURN_IF_ERROR(AsDamage(hash.status()));
  if (*hash == file.sha256) return absl::OkStatus();
  const std::string writer = file.host.empty() ? "" : absl::StrCat(" by ", Printable(file.host));
  return Damaged(path, absl::StrCat("its bytes are not those that were written", writer,
                                    " (SHA-256 ", *hash, ", not ", file.sha256, ")"));
}

absl::Status ReadRange(FileSystem& files, const Committed& checkpoint, std::string_view file,
                       int64_t offset, void* destination, int64_t size_bytes) {
  const std::vector<ManifestFile>& all = checkpoint.manifest.files;
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const ManifestFile& each) { return each.name == file; });
  const std::string path = absl::StrCat(checkpoint.path, "/", Printable(file));
  if (found == all.end()) return absl::NotFoundError(absl::StrCat(path, ": no file of it"));
  const bool inside = offset >= 0 && size_bytes >= 0 && offset <= found->bytes &&
                      size_bytes <= found->bytes - offset;
  if (!inside) {
    return absl::OutOfRangeError(absl::StrCat(path, ": ", size_bytes, " bytes at ", offset,
                                              " of a file of ", found->bytes, " bytes"));
  }
  return AsDamage(files.ReadAt(path, offset, destination, size_bytes));
}

}  // namespace fttrain
