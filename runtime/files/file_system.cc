#include "runtime/files/file_system.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/file_error.h"
#include "runtime/files/system_calls.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int64_t kMostPerCall = 1 << 30;  // Linux moves at most 2 GiB a call

// What the call returns once no signal interrupts it.
template <typename Call>
auto Again(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

absl::Status Failed(int error, const char* what, const std::string& path, int64_t bytes_to_go = 0) {
  const std::string message = absl::StrCat("cannot ", what, " ", path);
  const std::string reason(absl::ErrnoToStatus(error, message).message());
  switch (error) {
    case EEXIST:
      return absl::AlreadyExistsError(reason);
    case ENOENT:
      return absl::NotFoundError(reason);
    case ELOOP:
      return absl::InvalidArgumentError(
          absl::StrCat(message, ": a symbolic link, which is not followed here"));
    case ENOTDIR:  // what O_DIRECTORY with O_NOFOLLOW says of a link, too
      return absl::InvalidArgumentError(
          absl::StrCat(message, ": not a folder, or a symbolic link to one"));
    case EISDIR:
      return absl::InvalidArgumentError(reason);
    default:
      return FailedWrite(error, what, path, bytes_to_go);
  }
}

EntryKind KindOf(const struct stat& info) {
  if (S_ISREG(info.st_mode)) return EntryKind::kFile;
  if (S_ISDIR(info.st_mode)) return EntryKind::kFolder;
  return S_ISLNK(info.st_mode) ? EntryKind::kLink : EntryKind::kOther;
}

class SystemFile : public NewFile {
 public:
  SystemFile(SystemCalls& calls, std::string path, int fd, int64_t expected_bytes)
      : calls_(calls), path_(std::move(path)), fd_(fd), to_go_(expected_bytes) {}
  ~SystemFile() override {
    if (fd_ >= 0) calls_.Close(fd_);
  }

  absl::Status Reserve() {
    if (to_go_ <= 0 || Again([&] { return calls_.Reserve(fd_, to_go_); }) == 0) {
      return absl::OkStatus();
    }
    // Only what certainly stops the write; many file systems cannot reserve. EIO is no refusal.
    const bool certain = errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO;
    return certain ? Failed(errno, "reserve space for", path_, to_go_) : absl::OkStatus();
  }

  absl::Status Append(const void* data, int64_t size_bytes) override {
    const char* bytes = static_cast<const char*>(data);
    while (size_bytes > 0) {
      const size_t now = static_cast<size_t>(std::min(size_bytes, kMostPerCall));
      const ssize_t wrote = Again([&] { return calls_.Write(fd_, bytes, now); });
      // A write of nothing would repeat for ever.
      if (wrote <= 0) return Failed(wrote == 0 ? EIO : errno, "write", path_, to_go_);
      bytes += wrote;
      size_bytes -= wrote;
      to_go_ -= wrote;
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    // Interrupted is not failed: nothing was reported yet that a second call would hide.
    if (Again([&] { return calls_.Sync(fd_); }) == 0) return absl::OkStatus();
    return Failed(errno, "fsync", path_, to_go_);
  }

  absl::Status Close() override {
    FT_CHECK(fd_ >= 0, path_, ": closed twice");
    // Linux gives the descriptor back before it can be interrupted; another close might hit a file
    // that another thread has opened since. What was synced is safe.
    if (calls_.Close(std::exchange(fd_, -1)) == 0 || errno == EINTR) return absl::OkStatus();
    return Failed(errno, "close", path_, to_go_);
  }

 private:
  SystemCalls& calls_;
  std::string path_;
  int fd_;
  int64_t to_go_;  // of what was expected
};

class SystemFiles : public FileSystem {
 public:
  explicit SystemFiles(SystemCalls& calls) : calls_(calls) {}

  absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& path,
                                                  int64_t expected_bytes) override {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const int fd = Again([&] { return calls_.Open(path.c_str(), flags, 0666); });
    if (fd < 0) return Failed(errno, "create", path, expected_bytes);
    auto file = std::make_unique<SystemFile>(calls_, path, fd, expected_bytes);
    FT_RETURN_IF_ERROR(file->Reserve());
    return file;
  }

  absl::Status MakeFolder(const std::string& path) override {
    return Done(Again([&] { return calls_.MakeFolder(path.c_str()); }), "make the folder", path);
  }

  absl::Status SyncFolder(const std::string& path) override {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const int fd = Again([&] { return calls_.Open(path.c_str(), flags, 0); });
    if (fd < 0) return Failed(errno, "open the folder", path);
    const int synced = Again([&] { return calls_.Sync(fd); });
    const int error = synced == 0 || errno == EINVAL || errno == EOPNOTSUPP ? 0 : errno;
    calls_.Close(fd);  // of a descriptor that wrote nothing
    return error == 0 ? absl::OkStatus() : Failed(error, "fsync the folder", path);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    int renamed = Again([&] { return calls_.RenameNoReplace(from.c_str(), to.c_str()); });
    if (renamed < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
      FT_ASSIGN_OR_RETURN(const std::optional<EntryKind> there, Kind(to));
      if (there) return Failed(EEXIST, "rename to", to);
      renamed = Again([&] { return calls_.Rename(from.c_str(), to.c_str()); });
    }
    return Done(renamed, absl::StrCat("rename ", from, " to").c_str(), to);
  }

  absl::Status Replace(const std::string& from, const std::string& to) override {
    return Done(Again([&] { return calls_.Rename(from.c_str(), to.c_str()); }),
                absl::StrCat("rename ", from, " to").c_str(), to);
  }

  absl::Status RemoveFile(const std::string& path) override {
    return Done(Again([&] { return calls_.RemoveFile(path.c_str()); }), "remove", path);
  }

  absl::Status RemoveFolder(const std::string& path) override {
    return Done(Again([&] { return calls_.RemoveFolder(path.c_str()); }), "remove the folder",
                path);
  }

  absl::StatusOr<std::vector<FolderEntry>> List(const std::string& path) override {
    std::vector<std::string> names;
    const int listed = Again([&] { return calls_.List(path.c_str(), &names); });
    if (listed < 0) return Failed(errno, "list the folder", path);
    std::sort(names.begin(), names.end());
    std::vector<FolderEntry> entries;
    for (std::string& name : names) {
      FT_ASSIGN_OR_RETURN(const std::optional<EntryKind> kind, Kind(absl::StrCat(path, "/", name)));
      if (kind) entries.push_back({std::move(name), *kind});
    }
    return entries;
  }

  absl::StatusOr<std::optional<EntryKind>> Kind(const std::string& path) override {
    struct stat info;
    if (Again([&] { return calls_.StatEntry(path.c_str(), &info); }) == 0) return KindOf(info);
    if (errno == ENOENT) return std::nullopt;
    return Failed(errno, "look at", path);
  }

  absl::StatusOr<int64_t> Size(const std::string& path) override {
    FT_ASSIGN_OR_RETURN(const Opened file, Open(path));
    calls_.Close(file.fd);
    return file.size_bytes;
  }

  absl::Status ReadAt(const std::string& path, int64_t offset, void* destination,
                      int64_t size_bytes) override {
    FT_ASSIGN_OR_RETURN(const Opened file, Open(path));
    char* to = static_cast<char*>(destination);
    ssize_t got = 1;
    while (size_bytes > 0 && got > 0) {
      const size_t now = static_cast<size_t>(std::min(size_bytes, kMostPerCall));
      got = Again([&] { return calls_.Read(file.fd, to, now, offset); });
      if (got <= 0) break;
      to += got;
      offset += got;
      size_bytes -= got;
    }
    const int error = errno;
    calls_.Close(file.fd);
    if (got < 0) return Failed(error, "read", path);
    if (size_bytes == 0) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(path, ": ends at byte ", offset, ", ", size_bytes,
                                            " bytes before the end of what is to be read"));
  }

 private:
  struct Opened {
    int fd;
    int64_t size_bytes;
  };

  // A regular file for reading. The caller closes it.
  absl::StatusOr<Opened> Open(const std::string& path) {
    // O_NONBLOCK: opening a pipe must not wait for its writer.
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    const int fd = Again([&] { return calls_.Open(path.c_str(), flags, 0); });
    if (fd < 0) return Failed(errno, "open", path);
    struct stat info;
    const int known = Again([&] { return calls_.StatOpen(fd, &info); });
    const int error = errno;
    if (known == 0 && S_ISREG(info.st_mode)) return Opened{fd, info.st_size};
    calls_.Close(fd);
    if (known < 0) return Failed(error, "look at", path);
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }

  static absl::Status Done(int result, const char* what, const std::string& path) {
    return result == 0 ? absl::OkStatus() : Failed(errno, what, path);
  }

  SystemCalls& calls_;
};

}  // namespace

FileSystem& RealFileSystem() {
  static SystemCalls calls;
  static SystemFiles files(calls);
  return files;
}

std::unique_ptr<FileSystem> FileSystemOver(SystemCalls& calls) {
  return std::make_unique<SystemFiles>(calls);
}

}  // namespace fttrain
