// Storage of a rank's parameters: one flat buffer of values and one of gradients per kind of
// trainable parameter, laid out so that every collective of a step is one call on one contiguous
// range.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "parallel/param.h"

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
  TpGradient tp_gradient;
  bool weight_decay;
  bool int8_moments;
  FlatRange range;
};

// Trainable parameters of one (dtype, category). Order: [kOwned | kIdentical | kPartial | kShared],
// in each first those with weight decay, in each first those with 8-bit moments. Every parameter
// starts on 64 bytes, under kInt8 on a multiple of 256 elements; gaps and the tail are zeros.
struct FlatBuffer {
  struct Entry {
    Parameter* parameter;
    int64_t offset;
  };
  at::Tensor values;     // [numel], the parameters' dtype
  at::Tensor gradients;  // [numel], float32 (float64 if values are float64)
  std::vector<Entry> entries;
  std::vector<FlatSegment> segments;  // non-empty ones, ascending, adjacent

  int64_t numel() const { return values.numel(); }
  // The part that one dp rank owns under ZeRO 1: equal for all ranks, aligned as parameters are.
  FlatRange Shard(int dp_size, int dp_rank) const;
  // The contiguous range of one gradient relation; empty if there is none.
  FlatRange RangeOf(TpGradient tp_gradient) const;
};

// Gives every parameter of the set its `value` (zeros) and every trainable one its `grad` (zeros).
// Trainable ones become views of the returned buffers, frozen ones get a tensor each. numel is
// padded so that dp_size shards are equal. Booked under each parameter's category, and kGradients.
// A set without trainable parameters returns no buffers: this is how a frozen model gets its
// storage. Throws c10::Error if a trainable dtype is not float64, float32 or bfloat16, or is
// float64 under kInt8.
std::vector<FlatBuffer> AllocateParameters(ParameterSet& set, int dp_size, c10::Device device,
                                           MomentStorage moments = MomentStorage::kGradientDtype);

}  // namespace fttrain
