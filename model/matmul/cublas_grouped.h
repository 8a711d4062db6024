// The call of cuBLAS behind grouped_gemm.h.
#pragma once

#include "model/matmul/grouped_gemm.h"

namespace fttrain {

// Forms the products, at most kMostGrouped, on the current stream and returns; `table`, int64 [3
// kMostGrouped] on their device, is overwritten with their addresses. False, said once, from when
// on the libcublas of this process has no such call (before 12.5) or does not take one, and with
// FTTRAIN_GROUPED_GEMM=0 in the environment: then nothing was done. Throws c10::Error for its other
// errors.
bool RunOnCublas(const GroupedGemm& gemm, const at::Tensor& table);

// Whether this process has the call; on any machine.
bool CublasHasGroupedGemm();

}  // namespace fttrain
