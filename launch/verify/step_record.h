// What a run's steps computed, whole, on rank 0: what another run's are compared with.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/layout/param.h"

namespace fttrain {

class StepRecord {
 public:
  enum class Contents { kAll, kGradients };
  // Of the trainable parameters of `declared`, which must outlive it: values as loaded and after
  // each of `steps` steps (unless gradients alone), gradients of each, in one file without a name
  // in `folder`, so that they need no memory that the runs need. Unavailable, with folder and
  // bytes, if it cannot be made.
  static absl::StatusOr<std::unique_ptr<StepRecord>> Create(const ParameterSet& declared,
                                                            int64_t steps,
                                                            const std::string& folder,
                                                            Contents contents);

  // Views, in host memory, of the trainable parameter with that index in `declared`,
  // [global_shape]: its dtype, values after `at` steps (0: as loaded); float32 (float64 if the
  // parameter is), gradients of step `at` (from 0).
  at::Tensor Values(int64_t at, int64_t parameter) const;
  at::Tensor Gradients(int64_t at, int64_t parameter) const;
  at::Tensor Of(bool values, int64_t at, int64_t parameter) const {
    return values ? Values(at, parameter) : Gradients(at, parameter);
  }
  bool has_values() const { return value_bytes_ > 0; }
  static at::ScalarType GradientDtype(const Parameter& parameter);

  struct Scalars {
    double loss = 0, grad_norm = 0;
  };
  std::vector<Scalars> scalars;  // by step

 private:
  struct Place {  // bytes, of one step
    int64_t value = 0, gradient = 0;
    const Parameter* parameter = nullptr;
  };
  StepRecord() = default;
  std::vector<Place> places_;                     // by index; frozen ones empty
  int64_t value_bytes_ = 0, gradient_bytes_ = 0;  // of one step
  int64_t steps_ = 0;
  at::Tensor file_;  // kByte: steps + 1 times values, then steps times gradients
};

}  // namespace fttrain
