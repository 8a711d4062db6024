// Parameters: one global name, one global shape, and this rank's slice of it. Checkpoints, the
// optimizer, gradient sync, norms and weight loading all speak (name, slice).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "parallel/layout/mesh.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

// Half-open range [offset, offset + extent) of dimension `dim`; dim < 0: the whole tensor.
struct ParamSlice {
  std::string name;  // Hugging Face / PEFT name, e.g. model.layers.0.self_attn.q_proj.weight
  std::vector<int64_t> global_shape;
  int dim = -1;
  int64_t offset = 0;
  int64_t extent = 0;

  std::vector<int64_t> LocalShape() const;
  int64_t LocalNumel() const;
  int64_t GlobalNumel() const;
  // This part of a `whole` tensor [global_shape], [LocalShape()]; a view.
  at::Tensor PartOf(const at::Tensor& whole) const;
};

// A whole tensor, and rows/columns [offset, offset + extent). Throw c10::Error on a range outside
// the tensor.
ParamSlice WholeParam(std::string name, std::vector<int64_t> global_shape);
ParamSlice SlicedParam(std::string name, std::vector<int64_t> global_shape, int dim, int64_t offset,
                       int64_t extent);
// The part of `total` that `rank` of `size` owns: ceil(total / size) each, the last ones shorter or
// empty.
struct Range {
  int64_t offset = 0;
  int64_t extent = 0;
};
Range EvenRange(int64_t total, int size, int rank);
// SlicedParam of the range; WholeParam where that is everything.
ParamSlice SliceAlong(std::string name, std::vector<int64_t> global_shape, int dim, Range range);

// How the gradients that the ranks of one axis compute relate to the parameter's.
enum class AxisGradient {
  kOwned,      // the slice is this rank's alone and its gradient complete
  kIdentical,  // every rank holds the same values and computes the same gradient: nothing to do
  kPartial,    // every rank that holds it computes a part: summed over them once per step
  // The slice is held by several ranks (kv heads < tp), each computes a part: summed over the ranks
  // that hold the same slice. With h holders, ranks [h * i, h * i + h) hold slice i. Of tp alone.
  kShared,
};

// The same for every axis. Slices, sums, norms and shards follow from it.
struct Placement {
  AxisGradient tp = AxisGradient::kOwned;
  AxisGradient pp = AxisGradient::kOwned;    // kPartial: on the first and the last stage, tied
  AxisGradient ep = AxisGradient::kPartial;  // kOwned: an expert's
  AxisGradient dp = AxisGradient::kPartial;

  AxisGradient along(Axis axis) const;
  // Axes over which ranks that train on rows of their own hold the same, those of one rank too:
  // gradients are summed, and ZeRO shards.
  AxisSet Replicas(const MeshShape& shape) const;
};

struct Parameter {
  ParamSlice slice;
  Placement placement = {};
  bool trainable = false;
  bool weight_decay = true;           // false for biases and norm weights in full fine-tuning
  at::ScalarType dtype = at::kFloat;  // of `value`; trainable: float64, float32 or bfloat16
  MemoryCategory category = MemoryCategory::kWeights;  // of `value`; kAdapters for adapter factors
  // Frozen only. Above 0: `value` is this many bytes in a form that only its module knows (4-bit
  // codes and scales), kByte [packed_bytes]; dtype is then kByte.
  int64_t packed_bytes = 0;
  // Parameters that are used together, as those of a layer: the unit in which they come to the
  // device (parameter_store.h). Layers count from 0, the ends of the model have negative numbers.
  int group = 0;
  bool on_host = false;  // frozen only: `value` is in host memory whatever the model's device
  // [LocalShape()], on the model's device. For trainable parameters a view into a flat buffer.
  at::Tensor value{};
  // Trainable only: [LocalShape()], gradient accumulator in float32 (float64 if dtype is float64).
  // Blocks add to it; a view into a flat buffer.
  at::Tensor grad{};
};

// Zeros for the `value` of a frozen parameter, booked under its category.
at::Tensor AllocateValue(const Parameter& parameter, c10::Device device);

// Owns the parameters of one rank; addresses are stable. Modules declare in their constructors and
// keep the pointer; storage comes later, by ParameterStore (parameter_store.h).
class ParameterSet {
 public:
  // Parameters declared from here on belong to `group`.
  void BeginGroup(int group) { group_ = group; }
  // Throws c10::Error if the name is already declared.
  Parameter* Declare(Parameter parameter);
  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  std::vector<Parameter*> Trainable() const;       // in declaration order
  Parameter* Find(const std::string& name) const;  // null if absent
  Parameter* Get(const std::string& name) const;   // throws c10::Error if absent

 private:
  std::vector<std::unique_ptr<Parameter>> parameters_;
  std::unordered_map<std::string, Parameter*> by_name_;
  int group_ = 0;
};

}  // namespace fttrain
