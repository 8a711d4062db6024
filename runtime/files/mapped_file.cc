#include "runtime/files/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/files/file_error.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  int64_t size = 0;
  FT_ASSIGN_OR_RETURN(const int descriptor, OpenRegularFile(path, &size));
  void* data = nullptr;
  if (size > 0) {
    data = mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_SHARED, descriptor, 0);
  }
  const int error = errno;
  close(descriptor);
  if (data == MAP_FAILED) return FailedRead(error, "map", path);
  return std::shared_ptr<const MappedFile>(new MappedFile(static_cast<char*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(size_));
}

void MappedFile::ReadInNoOrder(int64_t size) const {
  const int64_t page = sysconf(_SC_PAGESIZE);
  madvise(data_, static_cast<size_t>(size / page * page), MADV_RANDOM);
}

void MappedFile::GivePagesBack() const {
  madvise(data_, static_cast<size_t>(size_), MADV_DONTNEED);
}

}  // namespace fttrain
