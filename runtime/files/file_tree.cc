// What file_system.h makes of the calls of any file system.
#include "absl/strings/str_cat.h"
#include "runtime/files/file_system.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::Status RemoveTree(FileSystem& files, const std::string& path) {
  const absl::StatusOr<std::vector<FolderEntry>> entries = files.List(path);
  if (absl::IsNotFound(entries.status())) return absl::OkStatus();
  FT_RETURN_IF_ERROR(entries.status());
  absl::Status first;
  for (const FolderEntry& entry : *entries) {
    const std::string inner = absl::StrCat(path, "/", entry.name);
    first.Update(entry.kind == EntryKind::kFolder ? RemoveTree(files, inner)
                                                  : files.RemoveFile(inner));
  }
  FT_RETURN_IF_ERROR(first);
  return files.RemoveFolder(path);
}

absl::Status WriteNewFile(FileSystem& files, const std::string& path, const std::string& contents) {
  const int64_t size_bytes = static_cast<int64_t>(contents.size());
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<NewFile> file, files.Create(path, size_bytes));
  FT_RETURN_IF_ERROR(file->Append(contents.data(), size_bytes));
  FT_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

absl::StatusOr<std::string> ReadAll(FileSystem& files, const std::string& path, int64_t max_bytes) {
  FT_ASSIGN_OR_RETURN(const int64_t size_bytes, files.Size(path));
  if (size_bytes > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", size_bytes, " bytes exceed the limit of ", max_bytes));
  }
  std::string contents(static_cast<size_t>(size_bytes), '\0');
  FT_RETURN_IF_ERROR(files.ReadAt(path, 0, contents.data(), size_bytes));
  return contents;
}

}  // namespace fttrain
