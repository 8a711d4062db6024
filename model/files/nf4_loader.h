// Matrices from a model's files into NF4 storage. Whatever slice a rank keeps, the whole matrix is
// quantised, so that its codes and scales are those of one rank; it goes by in pieces
// (slice_reader.h) that are quantised where the slice lies, with their float32 scales: 4 bytes for
// each block.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/nf4/nf4.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// Quantises a matrix of `shape` whose elements arrive in order.
class Nf4Stream {
 public:
  Nf4Stream(std::vector<int64_t> shape, const Nf4Options& options, c10::Device device);
  // The next elements: contiguous, any floating dtype (rounded to the options'), on the device;
  // whole blocks but for the last piece. Returns their codes, kByte [ceil(n / 2)], valid until the
  // next call. On a CPU DataLoss naming the first element that is not finite; a GPU is not waited
  // for.
  absl::StatusOr<at::Tensor> Add(const at::Tensor& values);
  // Of all elements, in the options' form, in host memory. DataLoss if one is not finite, or if
  // they are too large for 8 bits.
  absl::StatusOr<Nf4Scales> Scales() const;

 private:
  std::vector<int64_t> shape_;
  Nf4Options options_;
  int64_t next_element_ = 0;
  at::Tensor absmax_, codes_;
};

// Quantises the tensor `name` (F64, F32, F16 or BF16, of the slice's global shape), rounded to the
// options' dtype first as if it had been loaded in it, and stores the slice. Errors as LoadSlice;
// DataLoss for a value that is not finite.
absl::Status LoadQuantizing(const SafetensorsFolder& folder, const std::string& name,
                            const std::vector<int64_t>& shape, const Nf4Matrix& slice);

// Reads the slice of a matrix that the folder holds as NF4 (nf4_folder.h).
absl::Status LoadQuantized(const SafetensorsFolder& folder, const std::string& name,
                           const std::vector<int64_t>& shape, const Nf4Matrix& slice);

// Whichever of the two the folder holds.
absl::Status LoadNf4(const SafetensorsFolder& folder, const std::string& name,
                     const std::vector<int64_t>& shape, const Nf4Matrix& slice);

}  // namespace fttrain
