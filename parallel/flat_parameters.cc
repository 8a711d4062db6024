#include "parallel/flat_parameters.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "parallel/int8_moments.h"
#include "runtime/memory_ledger.h"

namespace fttrain {
namespace {

constexpr int64_t kAlignmentBytes = 64;
constexpr int64_t kMinInt8Numel = 4096;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

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
  return {parameter.tp_gradient,
          parameter.weight_decay,
          moments == MomentStorage::kInt8 && TakesInt8Moments(parameter),
          {}};
}

// Position of a segment in the buffer.
std::tuple<TpGradient, bool, bool> SegmentKey(const FlatSegment& segment) {
  return {segment.tp_gradient, !segment.weight_decay, !segment.int8_moments};
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

FlatBuffer AllocateBuffer(std::vector<Parameter*> parameters, int dp_size, c10::Device device,
                          MomentStorage moments) {
  // Stable: within a segment the order is that of declaration, equal on every rank.
  std::stable_sort(parameters.begin(), parameters.end(),
                   [moments](const Parameter* a, const Parameter* b) {
                     return SegmentKey(SegmentOf(*a, moments)) < SegmentKey(SegmentOf(*b, moments));
                   });
  const Parameter& first = *parameters.front();
  const int64_t alignment = AlignmentElements(first.dtype, moments);
  FlatBuffer buffer;
  const int64_t numel =
      RoundUp(LayOut(parameters, alignment, moments, buffer), alignment * dp_size);
  {
    MemoryScope scope(first.category);
    buffer.values = at::zeros({numel}, at::TensorOptions().dtype(first.dtype).device(device));
  }
  {
    MemoryScope scope(MemoryCategory::kGradients);
    buffer.gradients =
        at::zeros({numel}, at::TensorOptions().dtype(GradientDtype(first)).device(device));
  }
  for (const FlatBuffer::Entry& entry : buffer.entries) {
    entry.parameter->value = ViewOf(buffer.values, entry.offset, entry.parameter->slice);
    entry.parameter->grad = ViewOf(buffer.gradients, entry.offset, entry.parameter->slice);
  }
  return buffer;
}

}  // namespace

bool TakesInt8Moments(const Parameter& parameter) {
  return parameter.slice.GlobalNumel() >= kMinInt8Numel;
}

FlatRange Intersect(FlatRange a, FlatRange b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

FlatRange FlatBuffer::Shard(int dp_size, int dp_rank) const {
  const int64_t size = numel() / dp_size;
  return {size * dp_rank, size * (dp_rank + 1)};
}

FlatRange FlatBuffer::RangeOf(TpGradient tp_gradient) const {
  FlatRange range;
  for (const FlatSegment& segment : segments) {
    if (segment.tp_gradient != tp_gradient) continue;
    if (range.size() == 0) range.begin = segment.range.begin;
    range.end = segment.range.end;
  }
  return range;
}

std::vector<FlatBuffer> AllocateParameters(ParameterSet& set, int dp_size, c10::Device device,
                                           MomentStorage moments) {
  std::map<std::tuple<at::ScalarType, MemoryCategory>, std::vector<Parameter*>> kinds;
  for (const auto& parameter : set.all()) {
    if (parameter->trainable) {
      const at::ScalarType gradient = GradientDtype(*parameter);  // refuses by the parameter's name
      TORCH_CHECK(moments == MomentStorage::kGradientDtype || gradient == at::kFloat,
                  parameter->slice.name, ": 8-bit moments are not for ", gradient);
      kinds[{parameter->dtype, parameter->category}].push_back(parameter.get());
      continue;
    }
    parameter->value = AllocateValue(*parameter, device);
  }
  std::vector<FlatBuffer> buffers;
  for (auto& [kind, parameters] : kinds) {
    buffers.push_back(AllocateBuffer(std::move(parameters), dp_size, device, moments));
  }
  return buffers;
}

}  // namespace fttrain
