#include "runtime/files/file_error.h"

#include <sys/statvfs.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace fttrain {

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status FailedRead(int error, const char* what, const std::string& path) {
  const absl::Status status = absl::ErrnoToStatus(error, absl::StrCat("cannot ", what, " ", path));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(status.message());
    case ELOOP:
    case ENAMETOOLONG:
    case ENXIO:
    case ENODEV:
      return absl::InvalidArgumentError(status.message());
    default:
      return absl::IsPermissionDenied(status) ? status : absl::UnavailableError(status.message());
  }
}

absl::Status FailedWrite(int error, const char* what, const std::string& path,
                         int64_t bytes_to_go) {
  std::string message = absl::StrCat("cannot ", what, " ", path);
  const bool space_is_short = error == ENOSPC || error == EDQUOT || error == EFBIG;
  if (space_is_short) {
    struct statvfs space;
    const bool known = statvfs(FolderOf(path).c_str(), &space) == 0;
    absl::StrAppend(&message, " (");
    if (bytes_to_go > 0) absl::StrAppend(&message, bytes_to_go, " bytes to go, ");
    if (known) absl::StrAppend(&message, int64_t{1} * space.f_bavail * space.f_frsize, " free)");
    if (!known) absl::StrAppend(&message, "what is free is not known)");
  }
  const absl::Status status = absl::ErrnoToStatus(error, message);
  if (status.code() == absl::StatusCode::kPermissionDenied) return status;
  return space_is_short ? absl::ResourceExhaustedError(status.message())
                        : absl::UnavailableError(status.message());
}

}  // namespace fttrain
