// Elementwise reductions of CPU buffers, for MpiCommunicator.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "runtime/comm/communicator.h"

namespace fttrain {

// out[i] = inputs[0][i] op inputs[1][i] op ... in this order, i < elements, `count` inputs of the
// dtypes that Communicator takes. bfloat16 is accumulated in float32 and rounded once, to nearest
// even. NaN wins in kMax. `out` may be one of the inputs; otherwise buffers do not
// overlap.
void ReduceBuffers(c10::ScalarType dtype, ReduceOp op, const void* const* inputs, int count,
                   int64_t elements, void* out);

}  // namespace fttrain
