// Parameters that are a part of a file's tensor (TensorPart, tensor_rows.h) from its file: rows of
// it that are not contiguous there, or a stacked expert's matrix in MXFP4.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "model/nf4/nf4.h"
#include "parallel/layout/param.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

// The dtype in which the folder holds the tensor that the part named `name` is of: of MXFP4
// bfloat16. Errors as LoadPartInto.
absl::StatusOr<at::ScalarType> PartDtype(const SafetensorsFolder& folder, const std::string& name);

// Reads a slice of a parameter whose name is a TensorPart's into a contiguous tensor of its local
// shape, converted; no more of the file than pieces of a few MiB at a time, of MXFP4 whole rows.
// NotFound, InvalidArgument and DataLoss as LoadSliceInto.
absl::Status LoadPartInto(const SafetensorsFolder& folder, const ParamSlice& slice,
                          at::Tensor destination);

// Quantises the whole of the part, rounded to the options' dtype first, as a matrix of its own, and
// stores the slice (LoadQuantizing). Holds the matrix in host memory meanwhile.
absl::Status LoadQuantizingPart(const SafetensorsFolder& folder, const ParamSlice& slice,
                                const Nf4Matrix& matrix);

}  // namespace fttrain
