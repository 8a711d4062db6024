// Host memory that is a file: what need not stay in memory, since the system reads it again.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <string>

namespace fttrain {

// The file system refuses: a full disk, a folder that may not be written.
class MappedFileError : public c10::Error {
  using c10::Error::Error;
};

// A tensor kByte [bytes] of zeros whose memory is a file in `folder` without a name, gone with the
// tensor or the process. Its disk blocks are taken at once, so that a full disk is an error here
// and not a signal later. Pages are written back by the system, dropped when memory is short and
// read again when touched; no ledger counts them. `folder` must exist. Throws
// MappedFileError, naming folder and bytes.
at::Tensor MappedFileTensor(const std::string& folder, int64_t bytes);

// Asks the system to start reading the bytes of such a tensor; returns at once.
void ReadAhead(const at::Tensor& mapped);

}  // namespace fttrain
