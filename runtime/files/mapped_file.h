// A file's bytes, mapped for reading: those that are read, in the system's own pages, which the
// processes of a host share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace fttrain {

class MappedFile {
 public:
  // Errors are those of OpenRegularFile and, where the file cannot be mapped, Unavailable.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Null for an empty file, aligned to a page otherwise. Of a file that another process shortens,
  // what it lost cannot be read (SIGBUS): files that are mapped are replaced, never cut.
  const char* data() const { return data_; }
  int64_t size() const { return size_; }

  // Of the first `size` bytes single places are read, in no order: what is around them is not
  // wanted.
  void ReadInNoOrder(int64_t size) const;
  // Gives all pages back; what is read again is mapped again, from the system's cache of files.
  void GivePagesBack() const;

 private:
  MappedFile(char* data, int64_t size) : data_(data), size_(size) {}

  char* data_;
  int64_t size_;
};

}  // namespace fttrain
