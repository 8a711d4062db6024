#include "runtime/memory/mapped_file.h"

#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// File systems without O_TMPFILE get a name that is taken away at once.
int OpenNameless(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string name = folder + "/.fttrain-weights-XXXXXX";
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

at::Tensor MappedFileTensor(const std::string& folder, int64_t bytes) {
  if (bytes == 0) return at::from_blob(nullptr, {0}, at::kByte);
  const auto size = static_cast<size_t>(bytes);
  const auto check = [&](bool ok, const char* what, int error) {
    if (ok) return;
    throw MappedFileError({__func__, __FILE__, static_cast<uint32_t>(__LINE__)},
                          absl::StrCat("cannot ", what, " a file of ", bytes, " bytes in ", folder,
                                       ": ", std::strerror(error)));
  };
  const Descriptor file{OpenNameless(folder)};
  check(file.fd >= 0, "create", errno);
  const int allocated = ::posix_fallocate(file.fd, 0, static_cast<off_t>(size));
  check(allocated == 0, "allocate", allocated);
  void* const data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
  check(data != MAP_FAILED, "map", errno);
  return at::from_blob(
      data, {bytes}, [size](void* mapped) { ::munmap(mapped, size); }, at::kByte);
}

void ReadAhead(const at::Tensor& mapped) {
  if (mapped.numel() > 0) ::madvise(mapped.data_ptr(), mapped.nbytes(), MADV_WILLNEED);
}

}  // namespace fttrain
