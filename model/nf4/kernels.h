// The CPU loops behind nf4.h, as tables of functions over raw pointers: one source compiled for
// several instruction sets, whose results are equal bit for bit; chosen at run time.
// Single-threaded; callers split the work. No function reads or writes beyond the sizes given.
#pragma once

#include <cstdint>
#include <vector>

#include "model/kernels/dtype.h"

namespace fttrain {

// Rows of consecutive elements of a slice: of row r those from place first + r * stride on, whose
// results begin at out + r * out_stride (elements).
struct Nf4Rectangle {
  int64_t rows, columns, first, stride, out_stride;
};

// Consecutive elements of one run (nf4.h).
struct Nf4Piece {
  const uint8_t* codes;  // two a byte, the first in the high nibble
  int64_t first;         // index among the codes of the first element
  int64_t count;
  int64_t block_size;
  int64_t in_block;     // elements of the first element's block that come before it
  const float* absmax;  // of the blocks from the first element's on
  Dtype rounding;
  bool stream;  // store past the caches
};

// 8-bit scales.
struct Nf4NestedScales {
  const uint8_t* codes;  // of consecutive blocks
  int64_t count;
  int64_t in_group;     // blocks of the first one's group that come before it
  const float* groups;  // from the first one's group on
  const float* map;     // 256 values
  float offset;
};

struct Nf4Kernels {
  const char* name;
  // out: count elements of `type`.
  void (*dequantize)(const Nf4Piece& piece, Dtype type, void* out);
  // values: count elements of `type`, not kFloat64; the first begins a block.
  void (*quantize)(const void* values, Dtype type, int64_t count, int64_t block_size,
                   uint8_t* codes, float* absmax);
  // absmax: count values.
  void (*decode_scales)(const Nf4NestedScales& scales, float* absmax);
  // values: at most 256, the absmax of the blocks of one group; codes and the group's absmax of
  // value - offset. thresholds: of the signed dynamic map.
  float (*encode_group)(const float* values, int64_t count, float offset, const float* thresholds,
                        uint8_t* codes);
};

const Nf4Kernels& Nf4KernelsBase();
#if defined(__x86_64__)
const Nf4Kernels& Nf4KernelsAvx2();
const Nf4Kernels& Nf4KernelsAvx512();
#endif

// Those this machine can run, the fastest last.
std::vector<const Nf4Kernels*> UsableNf4Kernels();

}  // namespace fttrain
