#include "model/files/slice_reader.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <numeric>
#include <utility>

#include "runtime/memory/ledger.h"
#include "runtime/memory/staging.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int64_t kReadGrain = int64_t{256} << 10;  // bytes a thread reads at least

// Elements [begin, begin + count) of the slice, counted in the slice.
absl::Status ReadElements(const SafetensorsFolder& folder, std::string_view name,
                          const SliceRuns& slice, int64_t element_bytes, int64_t begin,
                          int64_t count, char* out) {
  while (count > 0) {
    const int64_t run = begin / slice.run_elements, within = begin % slice.run_elements;
    const int64_t piece = std::min(count, slice.run_elements - within);
    const int64_t at = slice.first_element + run * slice.stride_elements + within;
    FT_RETURN_IF_ERROR(folder.ReadBytes(name, at * element_bytes, piece * element_bytes, out));
    begin += piece;
    count -= piece;
    out += piece * element_bytes;
  }
  return absl::OkStatus();
}

// The same with all threads, which mostly find what they read in their caches when they use it.
absl::Status ReadThreaded(const SafetensorsFolder& folder, std::string_view name,
                          const SliceRuns& slice, int64_t element_bytes, int64_t first,
                          int64_t count, char* out) {
  std::mutex mutex;
  absl::Status failed;
  at::parallel_for(0, count, kReadGrain / element_bytes, [&](int64_t begin, int64_t end) {
    const absl::Status status = ReadElements(folder, name, slice, element_bytes, first + begin,
                                             end - begin, out + begin * element_bytes);
    if (status.ok()) return;
    const std::lock_guard lock(mutex);
    if (failed.ok()) failed = status;
  });
  return failed;
}

}  // namespace

SliceRuns RunsOf(const std::vector<int64_t>& shape, int dim, int64_t offset, int64_t extent) {
  const auto product = [&](size_t begin, size_t end) {
    return std::accumulate(shape.begin() + begin, shape.begin() + end, int64_t{1},
                           std::multiplies<>());
  };
  if (dim < 0) return {1, product(0, shape.size()), 0, 0};
  const int64_t inner = product(dim + 1, shape.size());
  return {product(0, dim), extent * inner, offset * inner, shape[dim] * inner};
}

int64_t LoadPieceBytes(c10::Device device) { return int64_t{device.is_cuda() ? 32 : 2} << 20; }

absl::Status ReadRuns(const SafetensorsFolder& folder, std::string_view name,
                      const SliceRuns& slice, int64_t element_bytes, char* out) {
  return ReadThreaded(folder, name, slice, element_bytes, 0, slice.elements(), out);
}

absl::Status ReadByPieces(
    const SafetensorsFolder& folder, std::string_view name, const SliceRuns& slice,
    at::ScalarType dtype, c10::Device device,
    absl::FunctionRef<absl::Status(int64_t first_element, const at::Tensor& host)> take) {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const auto element_bytes = static_cast<int64_t>(c10::elementSize(dtype));
  const int64_t total = slice.elements();
  const int64_t most = std::min(total, LoadPieceBytes(device) / element_bytes);
  std::vector<at::Tensor> buffers;
  for (int i = 0; i < (device.is_cuda() && most < total ? 2 : 1); ++i) {
    buffers.push_back(at::empty({most}, at::TensorOptions(dtype).pinned_memory(device.is_cuda())));
  }
  Staging staging(std::move(buffers), device);
  for (int64_t begin = 0; begin < total; begin += most) {
    const at::Tensor host = staging.Take().narrow(0, 0, std::min(most, total - begin));
    FT_RETURN_IF_ERROR(ReadThreaded(folder, name, slice, element_bytes, begin, host.numel(),
                                    static_cast<char*>(host.data_ptr())));
    FT_RETURN_IF_ERROR(take(begin, host));
    staging.Used();
  }
  return absl::OkStatus();
}

}  // namespace fttrain
