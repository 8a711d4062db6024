#include "runtime/memory/mapped_file.h"

#include <ATen/ops/from_blob.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace fttrain {

at::Tensor MappedFileTensor(const std::string& folder, int64_t bytes) {
  if (bytes == 0) return at::from_blob(nullptr, {0}, at::kByte);
  const NamelessFile file(folder, bytes);
  const auto size = static_cast<size_t>(bytes);
  void* const data =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor(), 0);
  if (data == MAP_FAILED) file.Fail("map", std::strerror(errno));
  return at::from_blob(
      data, {bytes}, [size](void* mapped) { ::munmap(mapped, size); }, at::kByte);
}

}  // namespace fttrain
