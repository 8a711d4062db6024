// NF4 (NormalFloat 4 bit, Dettmers et al., arXiv:2305.14314, sec. 3), bit-compatible with
// bitsandbytes: codes, absmax, double quantisation. A matrix [out, in] is quantised whole, in
// blocks of consecutive elements of its row-major flattening, and sliced afterwards, so that any
// tensor-parallel rank holds exactly its part of one rank's codes and scales.
//
// Where bitsandbytes' backends differ, this equals its CPU backend, on every device: the CUDA one
// is built with approximate division. (Blocks of zeros have code 7, zero, not NaN's 0; a threshold
// is one unit in the last place higher; denormal blocks are kept.) Two exceptions: 8-bit codes of
// scales are the nearest, as on CUDA, and results below the smallest normal float32 are not flushed
// to zero. Its CPU kernel takes wrong scales where rows of a multiple of 16 end inside blocks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "parallel/layout/param.h"

namespace fttrain {

struct Nf4Options {
  int64_t block_size = 64;   // a power of two in [32, 4096]
  bool double_quant = true;  // scales in 8 bits, by groups of kNf4Group blocks (sec. 3, "Double
                             // Quantization")
  // What a dequantised value is rounded to before it is converted to the dtype asked for:
  // quant_state's dtype. float32, bfloat16 or float16.
  at::ScalarType rounding = at::kFloat;
};
inline constexpr int64_t kNf4Group = 256;
constexpr bool IsNf4BlockSize(int64_t n) { return n >= 32 && n <= 4096 && (n & (n - 1)) == 0; }

// The bytes of a slice, in one buffer: [codes | scales | groups | offset], each part from a
// multiple of 16 bytes. codes: the slice's elements, row-major, two a byte, the first in the high
// nibble. scales: of the blocks that each run touches, runs one after another, blocks_per_run
// places each (the last may be unused); float32, or with double_quant uint8. groups: float32, the
// absmax of kNf4Group consecutive global blocks, from first_group on. offset: one float32. groups
// and offset only with double_quant. A run is a maximal piece of the slice that is contiguous in
// the flattened whole: the slice itself, or each of its rows if it is a range of columns.
struct Nf4Layout {
  int64_t rows = 0, columns = 0;  // of the slice
  int64_t whole_columns = 0;      // of the whole matrix
  int64_t whole_elements = 0;     // of the whole matrix
  int64_t first_element = 0;      // global flat index of the slice's first element
  int64_t runs = 0, run_elements = 0, blocks_per_run = 0;
  int64_t first_group = 0, groups = 0;
  int64_t scales_begin = 0, groups_begin = 0, offset_begin = 0, bytes = 0;
  Nf4Options options;

  int64_t elements() const { return rows * columns; }
  // Global flat index of the first element of a run.
  int64_t RunBegin(int64_t run) const { return first_element + run * whole_columns; }
  // Place of a global block's scale in the scales part; the block must touch the run.
  int64_t ScaleIndex(int64_t run, int64_t block) const {
    return run * blocks_per_run + block - RunBegin(run) / options.block_size;
  }
};

// Pure. Throws c10::Error unless the slice is of a matrix and the block size as above.
Nf4Layout MakeNf4Layout(const ParamSlice& slice, const Nf4Options& options);

// A slice with its bytes: kByte [layout.bytes], contiguous, 16-byte aligned, on any device.
struct Nf4Matrix {
  Nf4Layout layout;
  at::Tensor bytes;
  c10::ScalarType rounding() const { return layout.options.rounding; }
};

// Rows x columns (ranges within the slice) into out [rows.extent, columns.extent], whose rows are
// contiguous (any row stride), of dtype float32, bfloat16, float16 or float64, on the bytes'
// device: code value times absmax in float32, rounded to options.rounding, converted. Equal bit for
// bit to bitsandbytes.functional.dequantize_4bit. On the CPU split over ATen's threads; on CUDA one
// kernel on the current stream.
void DequantizeNf4(const Nf4Matrix& matrix, const Range& rows, const Range& columns,
                   const at::Tensor& out);

// The steps of quantising, on CPU or CUDA tensors; nothing here depends on the number of threads.
//
// Blocks of consecutive elements. values [n], contiguous, float32, bfloat16 or float16 (float64 is
// narrowed first by the caller); the first element begins a block, the last block may be short.
// codes: kByte [(n + 1) / 2]; absmax: float32 [ceil(n / block_size)]. Values must be finite (the
// caller checks absmax: NaN and infinity show up in it).
void QuantizeNf4Blocks(const at::Tensor& values, int64_t block_size, const at::Tensor& codes,
                       const at::Tensor& absmax);

// Double quantisation of the absmax of a whole matrix (CPU, float32 [blocks]): offset is their mean
// as ATen forms it on one thread, absmax - offset is coded by groups with the nearest entry of
// bitsandbytes' signed dynamic map.
struct Nf4Scales {
  at::Tensor codes;   // kByte [blocks]; without double quantisation absmax itself, and no groups
  at::Tensor groups;  // float32 [ceil(blocks / kNf4Group)]
  float offset = 0;
};
// Throws c10::Error where AbsmaxOffset is not finite.
Nf4Scales QuantizeAbsmax(const at::Tensor& absmax);
// The offset alone; infinite where the sum of the scales is beyond float32.
float AbsmaxOffset(const at::Tensor& absmax);

// Copies into the slice what it holds of `count` codes of the whole matrix (as QuantizeNf4Blocks
// packs them; on the bytes' device) whose first has the even global index `first_element`. Pieces
// may come in any order; elements outside the slice are skipped.
void StoreNf4Codes(const Nf4Matrix& slice, int64_t first_element, int64_t count,
                   const at::Tensor& codes);
// Copies the slice's scales out of the whole matrix's: absmax float32 [blocks] without
// double_quant; scales with it, or in either form of the slice's options.
void StoreNf4Absmax(const Nf4Matrix& slice, const at::Tensor& absmax);
void StoreNf4Scales(const Nf4Matrix& slice, const Nf4Scales& scales);

}  // namespace fttrain
