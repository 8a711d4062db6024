#include "model/nf4/nf4.h"

#include <c10/util/Exception.h>

#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

int64_t Aligned(int64_t bytes) { return RoundUp(bytes, 16); }

}  // namespace

Nf4Layout MakeNf4Layout(const ParamSlice& slice, const Nf4Options& options) {
  TORCH_CHECK(slice.global_shape.size() == 2, slice.name, ": only matrices are quantised, not ",
              slice.global_shape.size(), " dimensions");
  const int64_t block = options.block_size;
  TORCH_CHECK(IsNf4BlockSize(block), slice.name, ": blocks of 32, 64, ... 4096 elements, not ",
              block);
  const std::vector<int64_t> local = slice.LocalShape();
  Nf4Layout layout;
  layout.options = options;
  layout.rows = local[0];
  layout.columns = local[1];
  layout.whole_columns = slice.global_shape[1];
  layout.whole_elements = slice.GlobalNumel();
  if (layout.elements() == 0) return layout;
  const bool contiguous = layout.columns == layout.whole_columns;
  if (slice.dim >= 0) {
    layout.first_element = slice.dim == 0 ? slice.offset * layout.whole_columns : slice.offset;
  }
  layout.runs = contiguous ? 1 : layout.rows;
  layout.run_elements = contiguous ? layout.elements() : layout.columns;
  // Where rows begin inside blocks, how many a row touches varies: as many places as the worst
  // case.
  const bool aligned =
      layout.first_element % block == 0 && (contiguous || layout.whole_columns % block == 0);
  layout.blocks_per_run = aligned      ? CeilDivide(layout.run_elements, block)
                          : contiguous ? (layout.first_element + layout.run_elements - 1) / block -
                                             layout.first_element / block + 1
                                       : (layout.run_elements + block - 2) / block + 1;
  const int64_t scales = layout.runs * layout.blocks_per_run;
  layout.scales_begin = Aligned(CeilDivide(layout.elements(), 2));
  if (!options.double_quant) {
    layout.bytes = layout.scales_begin + Aligned(scales * 4);
    return layout;
  }
  const int64_t first_block = layout.first_element / block;
  const int64_t last_block = (layout.RunBegin(layout.runs - 1) + layout.run_elements - 1) / block;
  layout.first_group = first_block / kNf4Group;
  layout.groups = last_block / kNf4Group - layout.first_group + 1;
  layout.groups_begin = layout.scales_begin + Aligned(scales);
  layout.offset_begin = layout.groups_begin + Aligned(layout.groups * 4);
  layout.bytes = layout.offset_begin + 16;
  return layout;
}

}  // namespace fttrain
