// Host memory that is a file: what need not stay in memory, since the system reads it again.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "runtime/memory/nameless_file.h"

namespace fttrain {

// A tensor kByte [bytes] of zeros whose memory is a NamelessFile, gone with the tensor or the
// process. Pages are written back by the system, dropped when memory is short and read again when
// touched; no ledger counts them. Throws NamelessFileError, naming folder and bytes.
at::Tensor MappedFileTensor(const std::string& folder, int64_t bytes);

}  // namespace fttrain
