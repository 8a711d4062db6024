// The elements of a slice of a file's tensor, by pieces, through host memory to a device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// A slice of a row-major tensor: `runs` pieces of run_elements, the first at first_element,
// stride_elements apart. Together, in order, they are the slice, row-major.
struct SliceRuns {
  int64_t runs = 1;
  int64_t run_elements = 0;
  int64_t first_element = 0;
  int64_t stride_elements = 0;
  int64_t elements() const { return runs * run_elements; }
};
// Elements [offset, offset + extent) along dim; all of them for dim -1.
SliceRuns RunsOf(const std::vector<int64_t>& shape, int dim, int64_t offset, int64_t extent);

// Bytes of a piece, at most: on a CPU what threads that read it find in their caches when they use
// it. Whole NF4 blocks of every size and dtype.
int64_t LoadPieceBytes(c10::Device device);

// Reads the slice's bytes into `out`, with all of ATen's threads. DataLoss if the file is shorter
// than its header says.
absl::Status ReadRuns(const SafetensorsFolder& folder, std::string_view name,
                      const SliceRuns& slice, int64_t element_bytes, char* out);

// Hands the slice's elements, of the tensor's dtype in the file or kByte, to `take` in order:
// pieces in host memory, which are read again once what `take` has enqueued on the current stream
// of `device` is done. For a GPU they are pinned and two in turn: a copy that does not block runs
// beside the reading of the next. On a CPU there is one. Booked as kWorkspace, but for pinned
// memory, which ATen keeps for the next call. Errors as ReadRuns, and take's.
absl::Status ReadByPieces(
    const SafetensorsFolder& folder, std::string_view name, const SliceRuns& slice,
    at::ScalarType dtype, c10::Device device,
    absl::FunctionRef<absl::Status(int64_t first_element, const at::Tensor& host)> take);

}  // namespace fttrain
