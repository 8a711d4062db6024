// The factors of an adapter as a merge takes them: of one matrix at a time, in host memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "model/config/spec.h"
#include "model/files/adapter.h"

namespace fttrain {

struct MergeFactors {
  at::Tensor a, b;  // [r, in], [out, r]: float32, of float64 matrices float64
  double scale = 0.0;
};

// Of a module, whose matrix is [out, in] and of `dtype`. NotFound, InvalidArgument or DataLoss as
// LoadSlice; DataLoss for a value that is not finite.
absl::StatusOr<MergeFactors> LoadFactors(const AdapterFolder& adapter, const TensorSpec& matrix,
                                         at::ScalarType dtype);
// Of an expert's linear, parts of those of its parameter.
absl::StatusOr<MergeFactors> LoadExpertFactors(const AdapterFolder& adapter,
                                               const LinearSpec& expert, at::ScalarType dtype);

// The linears of experts that the form adapts, by their tensors in files; of a stack the first.
std::map<std::string, LinearSpec> AdaptedExperts(const ModelSpec& model, const AdapterForm& form);
// The linear that stands for all outputs of one matrix of a stack, gate and up together.
LinearSpec WholeOfStack(LinearSpec expert, int64_t index);

}  // namespace fttrain
