#include "runtime/files/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/file_error.h"
#include "runtime/files/safetensors_header.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

absl::Status ReadFailure(int error, const std::string& where) {
  if (error != 0) return FailedRead(error, "read", where);
  return absl::DataLossError(absl::StrCat("the file ended (did it shrink?) while reading ", where));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  int64_t file_bytes = 0;
  FT_ASSIGN_OR_RETURN(const int fd, OpenRegularFile(path, &file_bytes));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->path_ = path;
  file->fd_ = fd;
  uint64_t header_bytes = 0;
  if (file_bytes < 8) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file_bytes, " bytes are too few for a safetensors file"));
  }
  if (!ReadExactly(fd, &header_bytes, 8, 0)) return ReadFailure(errno, path);
  if (header_bytes > static_cast<uint64_t>(std::min(kMaxHeaderBytes, file_bytes - 8))) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": header length ", header_bytes, " exceeds the ", file_bytes - 8,
                     " bytes that follow or the limit of ", kMaxHeaderBytes, " (truncated file?)"));
  }
  std::string json(header_bytes, '\0');
  const int64_t data_start = 8 + static_cast<int64_t>(header_bytes);
  if (!ReadExactly(fd, json.data(), data_start - 8, 8)) return ReadFailure(errno, path);
  FT_ASSIGN_OR_RETURN(SafetensorsHeader header,
                      ParseSafetensorsHeader(json, data_start, file_bytes, path));
  file->entries_ = std::move(header.entries);
  file->metadata_ = std::move(header.metadata);
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status SafetensorsFile::ReadBytes(std::string_view name, int64_t offset_bytes,
                                        int64_t size_bytes, void* destination) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": no tensor '", Printable(name), "'"));
  }
  const SafetensorsEntry& entry = found->second;
  if (offset_bytes < 0 || size_bytes < 0 || offset_bytes > entry.size_bytes ||
      size_bytes > entry.size_bytes - offset_bytes) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": tensor '", Printable(name), "' has ",
                                              entry.size_bytes, " bytes, asked for ", size_bytes,
                                              " at ", offset_bytes));
  }
  const int64_t at = entry.offset_bytes + offset_bytes;
  if (ReadExactly(fd_, destination, size_bytes, at)) return absl::OkStatus();
  return ReadFailure(errno, absl::StrCat(path_, ", tensor '", Printable(name), "', ", size_bytes,
                                         " bytes at byte ", at));
}

}  // namespace fttrain
