// What a job's steps compute, as rank 0 sees it whole: recorded, of the run that is verified, and
// watched while another job follows that record (compare.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/run/build.h"
#include "launch/verify/replica_map.h"
#include "launch/verify/report.h"

namespace fttrain {

// Tensors of trained parameters: values after a step (0: as loaded), gradients of a step (from 1).
enum class Quantity { kValues, kGradients };

// By step and by parameter, an index of Network::declared: tensors [global_shape] in host memory,
// of frozen parameters undefined. Views of one file without a name, so that they need no memory
// that the runs need. Values have the parameter's dtype, gradients float32 (float64 if it has).
using StepTensors = std::vector<std::vector<at::Tensor>>;

// What is left of a run's steps when its ranks have given up its job.
struct StepRecord {
  StepTensors values, gradients;               // on rank 0
  StepTensors float32_gradients;               // on rank 0, of the same steps in float32; or empty
  std::vector<std::vector<HeldSlice>> slices;  // who held what
  Comparison comparison;  // the run's own numbers, and replicas that differ; on every rank

  int64_t steps() const { return static_cast<int64_t>(comparison.steps.size()); }
  const at::Tensor& Of(Quantity quantity, int64_t step, size_t parameter) const {
    return (quantity == Quantity::kValues ? values
                                          : gradients)[static_cast<size_t>(step)][parameter];
  }
};

// A trainable parameter at a step, as in StepTensors.
struct WholeTensor {
  Quantity quantity;
  int64_t step;
  size_t parameter;
  at::Tensor tensor;
  double norm;  // of all of the step's gradients, as the job has them
};

struct Watch {
  std::function<void(const WholeTensor&)> on_tensor;  // on rank 0, each tensor of each step in turn
  // On every rank; `norm` as of the step's tensors.
  std::function<void(const StepMetrics&, double norm)> after_step;
  // Whose values and gradients the job takes once its own are seen, to go on from them. Such a job
  // has all that it trains on its ranks (ZeRO 0).
  const StepRecord* follow = nullptr;
};

// Both train the first `steps` steps of `job`, are collective over its ranks and agree on errors.

// Returns replicas that differ, of a job that follows none: trained values and gradients at each
// step, frozen values as loaded. The same on every rank.
absl::StatusOr<std::vector<Deviation>> WatchSteps(Job& job, const ReplicaMap& replicas,
                                                  int64_t steps, const Watch& watch);

// The job's own steps or, where it follows a record, its gradients alone. Their files are in
// `scratch_folder`: Unavailable, with folder and bytes, if they cannot be made.
absl::StatusOr<StepRecord> RecordSteps(Job& job, int64_t steps, const std::string& scratch_folder,
                                       const Process& process, const StepRecord* follow = nullptr);

}  // namespace fttrain
