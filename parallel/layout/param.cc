#include "parallel/layout/param.h"

#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <utility>

#include "runtime/process/check.h"

namespace fttrain {

std::vector<int64_t> ParamSlice::LocalShape() const {
  std::vector<int64_t> shape = global_shape;
  if (dim >= 0) shape[static_cast<size_t>(dim)] = extent;
  return shape;
}

int64_t ParamSlice::LocalNumel() const { return c10::multiply_integers(LocalShape()); }
int64_t ParamSlice::GlobalNumel() const { return c10::multiply_integers(global_shape); }
at::Tensor ParamSlice::PartOf(const at::Tensor& whole) const {
  return dim < 0 ? whole : whole.narrow(dim, offset, extent);
}

ParamSlice WholeParam(std::string name, std::vector<int64_t> global_shape) {
  return {.name = std::move(name), .global_shape = std::move(global_shape)};
}

ParamSlice SlicedParam(std::string name, std::vector<int64_t> global_shape, int dim, int64_t offset,
                       int64_t extent) {
  TORCH_CHECK(dim >= 0 && dim < static_cast<int>(global_shape.size()), name, ": dim ", dim,
              " of a tensor with ", global_shape.size(), " dimensions");
  const int64_t size = global_shape[static_cast<size_t>(dim)];
  TORCH_CHECK(offset >= 0 && extent >= 0 && extent <= size && offset <= size - extent, name, ": [",
              offset, ", ", offset, " + ", extent, ") is outside dimension ", dim, " of size ",
              size);
  return {std::move(name), std::move(global_shape), dim, offset, extent};
}

at::Tensor AllocateValue(const Parameter& parameter, c10::Device device) {
  const MemoryScope scope(parameter.category);
  const auto options = at::TensorOptions()
                           .dtype(parameter.dtype)
                           .device(parameter.on_host ? c10::Device(c10::kCPU) : device);
  if (parameter.packed_bytes > 0) return at::zeros({parameter.packed_bytes}, options);
  return at::zeros(parameter.slice.LocalShape(), options);
}

AxisGradient Placement::along(Axis axis) const {
  switch (axis) {
    case Axis::kTp:
      return tp;
    case Axis::kPp:
      return pp;
    case Axis::kEp:
      return ep;
    case Axis::kDp:
      return dp;
  }
  FT_CHECK(false, "axis ", static_cast<int>(axis));
}

AxisSet Placement::Replicas(const MeshShape& shape) const {
  AxisSet replicas = {};
  for (const Axis axis : kEveryAxis) {
    if (!kDataAxes.Has(axis)) continue;
    if (along(axis) == AxisGradient::kPartial || shape.size(axis) == 1) {
      replicas = replicas | AxisSet{axis};
    }
  }
  return replicas;
}

Range EvenRange(int64_t total, int size, int rank) {
  const int64_t each = (total + size - 1) / size;
  const int64_t offset = std::min(total, each * rank);
  return {offset, std::min(each, total - offset)};
}

ParamSlice SliceAlong(std::string name, std::vector<int64_t> global_shape, int dim, Range range) {
  if (range.offset == 0 && range.extent == global_shape[static_cast<size_t>(dim)]) {
    return WholeParam(std::move(name), std::move(global_shape));
  }
  return SlicedParam(std::move(name), std::move(global_shape), dim, range.offset, range.extent);
}

Parameter* ParameterSet::Declare(Parameter parameter) {
  const std::string& name = parameter.slice.name;
  TORCH_CHECK(by_name_.find(name) == by_name_.end(), "parameter ", name, " is declared twice");
  parameters_.push_back(std::make_unique<Parameter>(std::move(parameter)));
  Parameter* declared = parameters_.back().get();
  declared->group = group_;
  by_name_.emplace(declared->slice.name, declared);
  return declared;
}

std::vector<Parameter*> ParameterSet::Trainable() const {
  std::vector<Parameter*> trainable;
  for (const auto& parameter : parameters_) {
    if (parameter->trainable) trainable.push_back(parameter.get());
  }
  return trainable;
}

Parameter* ParameterSet::Get(const std::string& name) const {
  Parameter* const parameter = Find(name);
  TORCH_CHECK(parameter != nullptr, name, " was not declared");
  return parameter;
}

Parameter* ParameterSet::Find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace fttrain
