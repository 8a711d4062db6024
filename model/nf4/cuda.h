// The CUDA kernels behind nf4.h over raw pointers to device memory, as kernels/cuda/rows.h
// describes its own. Exist only in builds with CUDA.
#pragma once

#include <cstdint>

#include "model/nf4/kernels.h"

namespace fttrain::cuda {

// A slice (Nf4Layout), in device memory.
struct Nf4Source {
  const uint8_t* codes;
  const uint8_t* scales;  // float32, or 8-bit codes if there are groups
  const float* groups;    // or null
  const float* offset;    // or null
  int64_t block_size, first_element, runs, run_elements, whole_columns, blocks_per_run, first_group;
  Dtype rounding;
};
// map: 256 values in host memory. Every size above 0.
void DequantizeNf4(const Nf4Source& source, const Nf4Rectangle& rectangle, const float* map,
                   Dtype type, void* out, void* stream);

// As nf4.h; type is not kFloat64, count above 0.
void QuantizeNf4Blocks(Dtype type, const void* values, int64_t count, int64_t block_size,
                       uint8_t* codes, float* absmax, void* stream);

struct Nf4Runs {
  int64_t runs, run_elements, first_element, whole_columns;
};
// As nf4.h; `to` is the slice's codes.
void StoreNf4Codes(const uint8_t* codes, int64_t first_element, int64_t count, const Nf4Runs& runs,
                   uint8_t* to, void* stream);

}  // namespace fttrain::cuda
