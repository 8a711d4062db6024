// Bytes on a disk that are gone with their owner or the process.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <string>

namespace fttrain {

// The file system refuses: a full disk, a folder that may not be written, a disk that fails.
class NamelessFileError : public c10::Error {
  using c10::Error::Error;
};

// A file of zeros in `folder` without a name. Its disk blocks are taken at once, so that a full
// disk is an error here and not later. `folder` must exist. The constructor throws
// NamelessFileError, naming folder and bytes. Any thread, one at a time.
class NamelessFile {
 public:
  NamelessFile(std::string folder, int64_t bytes);
  virtual ~NamelessFile();
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  int64_t bytes() const { return bytes_; }
  // All `count` bytes from `begin` on, or NamelessFileError with the folder, bytes and why. Virtual
  // for tests, whose disks are slow or fail.
  virtual void Read(int64_t begin, int64_t count, char* out);
  void Write(int64_t begin, int64_t count, const char* from);

  int descriptor() const { return descriptor_; }

  // A tensor kByte [bytes] of zeros whose memory is such a file, gone with the tensor or the
  // process. Pages are written back by the system, dropped when memory is short and read again when
  // touched; no ledger counts them.
  static at::Tensor AsTensor(const std::string& folder, int64_t bytes);

 private:
  // "cannot WHAT a file of BYTES bytes in FOLDER: WHY".
  [[noreturn]] void Fail(const std::string& what, const char* why) const;

  std::string folder_;
  int64_t bytes_;
  int descriptor_;
};

}  // namespace fttrain
