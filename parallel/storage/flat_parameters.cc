#include "parallel/storage/flat_parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "runtime/math/ceil_divide.h"
#include "runtime/math/dynamic_map.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

constexpr int64_t kMinInt8Numel = 4096;

// Elements that start on 64 bytes in values as well as gradients (whose elements are never
// smaller), and blocks of 8-bit moments that straddle neither parameters nor shards.
int64_t AlignmentElements(at::ScalarType dtype, MomentStorage moments) {
  const int64_t elements = kAlignmentBytes / static_cast<int64_t>(c10::elementSize(dtype));
  return moments == MomentStorage::kInt8 ? std::max(elements, kInt8Block) : elements;
}

at::ScalarType GradientDtype(const Parameter& parameter) {
  const at::ScalarType dtype = parameter.dtype;
  TORCH_CHECK(dtype == at::kDouble || dtype == at::kFloat || dtype == at::kBFloat16,
              parameter.slice.name,
              ": a trainable parameter must be float64, float32 or bfloat16, not ", dtype);
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

at::Tensor ViewOf(const at::Tensor& flat, int64_t offset, const ParamSlice& slice) {
  return flat.narrow(0, offset, slice.LocalNumel()).view(slice.LocalShape());
}

FlatSegment SegmentOf(const Parameter& parameter, MomentStorage moments) {
  return {parameter.placement.tp,
          parameter.weight_decay,
          moments == MomentStorage::kInt8 && TakesInt8Moments(parameter),
          {}};
}

// Position of a segment in the buffer.
std::tuple<AxisGradient, bool, bool> SegmentKey(const FlatSegment& segment) {
  return {segment.over_tp, !segment.weight_decay, !segment.int8_moments};
}

// Assigns offsets; returns the number of elements before the tail's padding.
int64_t LayOut(const std::vector<Parameter*>& parameters, int64_t alignment, MomentStorage moments,
               FlatBuffer& buffer) {
  int64_t offset = 0;
  for (Parameter* parameter : parameters) {
    FlatSegment segment = SegmentOf(*parameter, moments);
    if (buffer.segments.empty() || SegmentKey(buffer.segments.back()) != SegmentKey(segment)) {
      segment.range = {offset, offset};
      buffer.segments.push_back(segment);
    }
    buffer.entries.push_back({parameter, offset});
    offset = RoundUp(offset + parameter->slice.LocalNumel(), alignment);
    buffer.segments.back().range.end = offset;
  }
  return offset;
}

FlatBuffer LayOutBuffer(std::vector<Parameter*> parameters, const MeshShape& shape,
                        MomentStorage moments) {
  // Stable: within a segment the order is that of declaration, equal on every rank.
  std::stable_sort(parameters.begin(), parameters.end(),
                   [moments](const Parameter* a, const Parameter* b) {
                     return SegmentKey(SegmentOf(*a, moments)) < SegmentKey(SegmentOf(*b, moments));
                   });
  const int64_t alignment = AlignmentElements(parameters.front()->dtype, moments);
  FlatBuffer buffer;
  buffer.replicas = parameters.front()->placement.Replicas(shape);
  buffer.elements = RoundUp(LayOut(parameters, alignment, moments, buffer),
                            alignment * shape.size(buffer.replicas));
  return buffer;
}

at::Tensor NarrowKept(const at::Tensor& flat, FlatRange kept, FlatRange range) {
  TORCH_CHECK(range.begin >= kept.begin && range.end <= kept.end, "elements [", range.begin, ", ",
              range.end, ") of a buffer that keeps [", kept.begin, ", ", kept.end, ")");
  return flat.narrow(0, range.begin - kept.begin, range.size());
}

}  // namespace

bool TakesInt8Moments(const Parameter& parameter) {
  return parameter.slice.GlobalNumel() >= kMinInt8Numel;
}

FlatRange Intersect(FlatRange a, FlatRange b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

FlatRange FlatBuffer::Shard(int shards, int index) const {
  const int64_t size = numel() / shards;
  return {size * index, size * (index + 1)};
}

FlatRange FlatBuffer::RangeOf(AxisGradient over_tp) const {
  FlatRange range;
  for (const FlatSegment& segment : segments) {
    if (segment.over_tp != over_tp) continue;
    if (range.size() == 0) range.begin = segment.range.begin;
    range.end = segment.range.end;
  }
  return range;
}

at::Tensor FlatBuffer::ValuesIn(FlatRange range) const {
  return NarrowKept(values, kept_values, range);
}

at::Tensor FlatBuffer::GradientsIn(FlatRange range) const {
  return NarrowKept(gradients, kept_gradients, range);
}

at::Tensor FlatBuffer::ZeroGradients(c10::Device device) const {
  const MemoryScope scope(MemoryCategory::kGradients);
  const at::ScalarType dtype = GradientDtype(*entries.front().parameter);
  return at::zeros({numel()}, at::TensorOptions().dtype(dtype).device(device));
}

std::vector<FlatBuffer> LayOutTrainable(const ParameterSet& set, const MeshShape& shape,
                                        MomentStorage moments, bool by_group) {
  std::map<std::tuple<int, at::ScalarType, MemoryCategory, AxisSet, bool>, std::vector<Parameter*>>
      kinds;
  for (Parameter* parameter : set.Trainable()) {
    const at::ScalarType gradient = GradientDtype(*parameter);  // refuses by the parameter's name
    TORCH_CHECK(moments == MomentStorage::kGradientDtype || gradient == at::kFloat,
                parameter->slice.name, ": 8-bit moments are not for ", gradient);
    const int group = by_group ? parameter->group : 0;
    // What both ends of a pipeline hold lies in a buffer of its own, so that its shards begin and
    // end at the same elements on both, whatever else the two stages hold.
    const bool on_both_ends = parameter->placement.pp == AxisGradient::kPartial;
    kinds[{group, parameter->dtype, parameter->category, parameter->placement.Replicas(shape),
           on_both_ends}]
        .push_back(parameter);
  }
  std::vector<FlatBuffer> buffers;
  for (auto& [kind, parameters] : kinds) {
    buffers.push_back(LayOutBuffer(std::move(parameters), shape, moments));
  }
  return buffers;
}

void AllocateFlat(FlatBuffer& buffer, FlatRange values, FlatRange gradients, c10::Device device) {
  const Parameter& first = *buffer.entries.front().parameter;
  const auto zeros = [&](MemoryCategory category, at::ScalarType dtype, int64_t numel) {
    const MemoryScope scope(category);
    return at::zeros({numel}, at::TensorOptions().dtype(dtype).device(device));
  };
  buffer.kept_values = values;
  buffer.kept_gradients = gradients;
  buffer.values = zeros(first.category, first.dtype, values.size());
  buffer.gradients = zeros(MemoryCategory::kGradients, GradientDtype(first), gradients.size());
  if (values.size() == buffer.numel()) {
    for (const auto& [parameter, offset] : buffer.entries) {
      parameter->value = ViewOf(buffer.values, offset, parameter->slice);
    }
  }
  if (gradients.size() == buffer.numel()) BindGradients(buffer, buffer.gradients);
}

void BindGradients(const FlatBuffer& buffer, const at::Tensor& flat) {
  for (const auto& [parameter, offset] : buffer.entries) {
    parameter->grad = flat.defined() ? ViewOf(flat, offset, parameter->slice) : at::Tensor();
  }
}

}  // namespace fttrain
