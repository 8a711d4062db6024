// Sums of several experts together on a CPU, behind grouped_gemm.h: pieces of all their products
// are one pool of work for the threads, in loops of our own. A library's call for each would
// prepare itself for every number of rows that an expert has, and start the threads anew.
#pragma once

#include "model/matmul/grouped_gemm.h"

namespace fttrain {

// AddProductSums of each group (AddGroupedSums), of the same precision; an NF4 matrix is
// dequantised piece by piece. False, and nothing is done, where these loops have no gain: of few
// rows together (few_rows.h), and of bfloat16 where the machine has tiles for it or none of its
// products. The scratch, of what the first group asks for, is that of one group alone.
bool AddGroupedOnCpu(c10::ArrayRef<std::vector<ProductSum>> groups,
                     Bf16Gemm backend = DefaultBf16Gemm());

}  // namespace fttrain
