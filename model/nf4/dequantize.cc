#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "model/nf4/dispatch.h"
#include "model/nf4/nf4.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/math/dynamic_map.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/on_cuda.h"

namespace fttrain {
namespace {

// Elements that one call of the loops takes: the scales of so many fit the stack.
constexpr int64_t kPieceElements = 1 << 14;
// Results beyond this many bytes are not read again from the caches: stored past them.
constexpr int64_t kStreamBytes = int64_t{1} << 25;

// Global flat index of a place in the slice, and its run.
struct Place {
  int64_t run, element;
};
Place PlaceOf(const Nf4Layout& layout, int64_t place) {
  const int64_t run = place / layout.run_elements;
  return {run, layout.RunBegin(run) + place % layout.run_elements};
}

// absmax of `count` blocks from `block` on: where they lie, or decoded into `buffer`.
const float* ScalesOf(const Nf4Layout& layout, const uint8_t* bytes, const Place& place,
                      int64_t count, float* buffer) {
  const int64_t block = place.element / layout.options.block_size;
  const int64_t index = layout.ScaleIndex(place.run, block);
  const uint8_t* scales = bytes + layout.scales_begin;
  if (!layout.options.double_quant) return reinterpret_cast<const float*>(scales) + index;
  const auto* groups = reinterpret_cast<const float*>(bytes + layout.groups_begin);
  SelectedNf4Kernels().decode_scales(
      {.codes = scales + index,
       .count = count,
       .in_group = block % kNf4Group,
       .groups = groups + block / kNf4Group - layout.first_group,
       .map = SignedDynamicMap().data(),
       .offset = *reinterpret_cast<const float*>(bytes + layout.offset_begin)},
      buffer);
  return buffer;
}

void DequantizeOnCpu(const Nf4Matrix& matrix, const Nf4Rectangle& from, const at::Tensor& out) {
  if (IsRehearsal()) return;
  const Nf4Layout& layout = matrix.layout;
  const auto* bytes = matrix.bytes.const_data_ptr<uint8_t>();
  auto* to = static_cast<char*>(out.mutable_data_ptr());
  const Dtype type = DtypeOf(out.scalar_type()), rounding = DtypeOf(matrix.rounding());
  const int64_t size = out.element_size(), block_size = layout.options.block_size;
  const bool stream = from.rows * from.columns * size > kStreamBytes;
  const int64_t pieces = CeilDivide(from.columns, kPieceElements);
  const int64_t grain = std::max<int64_t>(1, kPieceElements * pieces / from.columns);
  at::parallel_for(0, from.rows * pieces, grain, [&](int64_t begin, int64_t end) {
    std::array<float, kPieceElements / 32 + 2> buffer;
    for (int64_t index = begin; index < end; ++index) {
      const int64_t row = index / pieces, column = index % pieces * kPieceElements;
      const int64_t first = from.first + row * from.stride + column;
      const int64_t count = std::min(kPieceElements, from.columns - column);
      const Place place = PlaceOf(layout, first);
      const int64_t in_block = place.element % block_size;
      const int64_t blocks = (in_block + count - 1) / block_size + 1;
      const Nf4Piece piece = {.codes = bytes,
                              .first = first,
                              .count = count,
                              .block_size = block_size,
                              .in_block = in_block,
                              .absmax = ScalesOf(layout, bytes, place, blocks, buffer.data()),
                              .rounding = rounding,
                              .stream = stream};
      SelectedNf4Kernels().dequantize(piece, type, to + (row * from.out_stride + column) * size);
    }
  });
}

}  // namespace

Nf4Rectangle RectangleOf(const Nf4Layout& layout, const Range& rows, const Range& columns,
                         const at::Tensor& out) {
  const int64_t first = rows.offset * layout.columns + columns.offset;
  const bool whole = columns.extent == layout.columns && layout.runs == 1 && out.is_contiguous();
  if (whole) return {1, rows.extent * columns.extent, first, 0, 0};
  return {rows.extent, columns.extent, first, layout.columns, out.stride(0)};
}

cuda::Nf4Source CudaSourceOf(const Nf4Matrix& matrix) {
  const Nf4Layout& layout = matrix.layout;
  const auto* bytes = matrix.bytes.const_data_ptr<uint8_t>();
  const bool nested = layout.options.double_quant;
  cuda::Nf4Source source;
  source.codes = bytes;
  source.scales = bytes + layout.scales_begin;
  source.groups = nested ? reinterpret_cast<const float*>(bytes + layout.groups_begin) : nullptr;
  source.offset = nested ? reinterpret_cast<const float*>(bytes + layout.offset_begin) : nullptr;
  source.block_size = layout.options.block_size;
  source.first_element = layout.first_element;
  source.runs = layout.runs;
  source.run_elements = layout.run_elements;
  source.whole_columns = layout.whole_columns;
  source.blocks_per_run = layout.blocks_per_run;
  source.first_group = layout.first_group;
  source.rounding = DtypeOf(matrix.rounding());
  return source;
}

void DequantizeNf4(const Nf4Matrix& matrix, const Range& rows, const Range& columns,
                   const at::Tensor& out) {
  const Nf4Layout& layout = matrix.layout;
  CheckNf4Matrix("DequantizeNf4", matrix);
  TORCH_CHECK(rows.offset >= 0 && rows.extent >= 0 && rows.offset + rows.extent <= layout.rows &&
                  columns.offset >= 0 && columns.extent >= 0 &&
                  columns.offset + columns.extent <= layout.columns,
              "DequantizeNf4: rows ", rows.offset, " + ", rows.extent, " and columns ",
              columns.offset, " + ", columns.extent, " of [", layout.rows, ", ", layout.columns,
              "]");
  TORCH_CHECK(
      out.dim() == 2 && out.size(0) == rows.extent && out.size(1) == columns.extent &&
          (columns.extent <= 1 || out.stride(1) == 1) && out.device() == matrix.bytes.device(),
      "DequantizeNf4: want [", rows.extent, ", ", columns.extent, "] with contiguous rows on ",
      matrix.bytes.device(), ", got ", out.sizes(), " with ", out.strides(), " on ", out.device());
  if (out.numel() == 0) return;
  const Nf4Rectangle rectangle = RectangleOf(layout, rows, columns, out);
  if (FT_ON_CUDA(out, DequantizeNf4, CudaSourceOf(matrix), rectangle, SignedDynamicMap().data(),
                 DtypeOf(out), out.mutable_data_ptr())) {
    return;
  }
  DequantizeOnCpu(matrix, rectangle, out);
}

}  // namespace fttrain
