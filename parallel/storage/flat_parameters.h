// Storage of a rank's trainable parameters: one flat buffer of values and one of gradients per kind
// of parameter, laid out so that every collective of a step is one call on one contiguous range.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "parallel/layout/param.h"

namespace fttrain {

// Elements [begin, end) of a flat buffer.
struct FlatRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};
FlatRange Intersect(FlatRange a, FlatRange b);  // empty (begin == end) if disjoint

// How the optimizer keeps its moments: in the gradients' dtype, or large parameters' in 8 bits.
enum class MomentStorage { kGradientDtype, kInt8 };

// Whether a parameter's moments are kept in 8 bits under kInt8: if the whole tensor has at least
// 4096 elements, as in bitsandbytes. Every layout decides alike.
bool TakesInt8Moments(const Parameter& parameter);

// Parameters that share gradient relation, weight decay and storage of moments, back to back.
struct FlatSegment {
  AxisGradient over_tp;
  bool weight_decay;
  bool int8_moments;
  FlatRange range;
};

// Trainable parameters of one (dtype, category, replicas, on both ends of a pipeline or not), or of
// one group of them. Order: over tp
// [kOwned | kIdentical | kPartial | kShared], in each first those with weight decay, in each first
// those with 8-bit moments. Every parameter starts on 64 bytes, under kInt8 on a multiple of 256
// elements; gaps and the tail are zeros.
struct FlatBuffer {
  struct Entry {
    Parameter* parameter;
    int64_t offset;
  };
  // Axes over which gradients are summed and ZeRO shards.
  AxisSet replicas = {};
  // A rank may keep a part of the elements alone, its shard (ZeRO 2: of the gradients, ZeRO 3:
  // of the values too): then parameters have no views here.
  FlatRange kept_values, kept_gradients;
  at::Tensor values;     // [kept_values.size()], the parameters' dtype
  at::Tensor gradients;  // [kept_gradients.size()], float32 (float64 if values are float64)
  std::vector<Entry> entries;
  std::vector<FlatSegment> segments;  // non-empty ones, ascending, adjacent
  int64_t elements = 0;               // a multiple of as many parameter alignments as shards

  int64_t numel() const { return elements; }
  // The part that one of `shards` replicas owns from ZeRO 1 on: equal for all, aligned as
  // parameters are.
  FlatRange Shard(int shards, int index) const;
  // The contiguous range of one gradient relation over tp; empty if there is none.
  FlatRange RangeOf(AxisGradient over_tp) const;
  // Views of elements, which must be kept.
  at::Tensor ValuesIn(FlatRange range) const;
  at::Tensor GradientsIn(FlatRange range) const;
  // A buffer for all gradients: zeros [numel], booked as kGradients.
  at::Tensor ZeroGradients(c10::Device device) const;
};

// The set's trainable parameters in buffers without storage, padded so that the shards of all
// replicas are equal; with `by_group` each group has buffers of its own, ascending. The same on
// every replica.
// Throws c10::Error if a trainable dtype is not float64, float32 or bfloat16, or is float64 under
// kInt8.
std::vector<FlatBuffer> LayOutTrainable(const ParameterSet& set, const MeshShape& shape,
                                        MomentStorage moments, bool by_group);

// Zeros for the ranges of values and gradients that are kept, booked under the parameters' category
// and kGradients. Where all is kept, the parameters' `value` or `grad` become views of it.
void AllocateFlat(FlatBuffer& buffer, FlatRange values, FlatRange gradients, c10::Device device);
// Makes every parameter's `grad` a view of `flat` [numel], or undefined if that is.
void BindGradients(const FlatBuffer& buffer, const at::Tensor& flat);

}  // namespace fttrain
