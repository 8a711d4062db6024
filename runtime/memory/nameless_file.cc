#include "runtime/memory/nameless_file.h"

#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/memory/rehearsal.h"

namespace fttrain {
namespace {

// File systems without O_TMPFILE get a name that is taken away at once.
int OpenNameless(const std::string& folder) {
  const int opened = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (opened >= 0) return opened;
  std::string name = folder + "/.fttrain-weights-XXXXXX";
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

// Calls `move(done)` until it has moved `count` bytes. Null, or why it could not.
template <class Move>
const char* MoveAll(int64_t count, const Move& move) {
  for (int64_t done = 0; done < count;) {
    const ssize_t moved = move(done);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0) return std::strerror(errno);
    if (moved == 0) return "it has become shorter";
    done += moved;
  }
  return nullptr;
}

}  // namespace

NamelessFile::NamelessFile(std::string folder, int64_t bytes)
    : folder_(std::move(folder)),
      bytes_(bytes),
      descriptor_(IsRehearsal() ? -1 : OpenNameless(folder_)) {
  if (IsRehearsal()) return;
  if (descriptor_ < 0) Fail("create", std::strerror(errno));
  if (bytes == 0) return;
  const int allocated = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  if (allocated == 0) return;
  ::close(descriptor_);
  Fail("allocate", std::strerror(allocated));
}

NamelessFile::~NamelessFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void NamelessFile::Read(int64_t begin, int64_t count, char* out) {
  if (IsRehearsal()) return;
  const char* const why = MoveAll(count, [&](int64_t done) {
    return ::pread(descriptor_, out + done, static_cast<size_t>(count - done), begin + done);
  });
  if (why != nullptr) Fail(absl::StrCat("read ", count, " bytes from ", begin, " of"), why);
}

void NamelessFile::Write(int64_t begin, int64_t count, const char* from) {
  if (IsRehearsal()) return;
  const char* const why = MoveAll(count, [&](int64_t done) {
    return ::pwrite(descriptor_, from + done, static_cast<size_t>(count - done), begin + done);
  });
  if (why != nullptr) Fail(absl::StrCat("write ", count, " bytes at ", begin, " of"), why);
}

at::Tensor NamelessFile::AsTensor(const std::string& folder, int64_t bytes) {
  if (bytes == 0) return at::from_blob(nullptr, {0}, at::kByte);
  if (IsRehearsal()) {
    void* const zeros = ImaginedZeros(bytes);
    TORCH_CHECK(zeros != nullptr, "cannot imagine ", bytes, " bytes");
    return at::from_blob(
        zeros, {bytes}, [bytes](void* freed) { FreeImagined(freed, bytes); }, at::kByte);
  }
  const NamelessFile file(folder, bytes);
  const auto size = static_cast<size_t>(bytes);
  void* const data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor_, 0);
  if (data == MAP_FAILED) file.Fail("map", std::strerror(errno));
  return at::from_blob(
      data, {bytes}, [size](void* mapped) { ::munmap(mapped, size); }, at::kByte);
}

void NamelessFile::Fail(const std::string& what, const char* why) const {
  throw NamelessFileError(
      {__func__, __FILE__, static_cast<uint32_t>(__LINE__)},
      absl::StrCat("cannot ", what, " a file of ", bytes_, " bytes in ", folder_, ": ", why));
}

}  // namespace fttrain
