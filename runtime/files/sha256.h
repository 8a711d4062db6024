// SHA-256 of bytes that come in pieces (libcrypto's, which uses the processor's instructions).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fttrain {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Add(const void* data, int64_t size_bytes);
  std::string Hex();  // 64 lower-case digits; once, after which nothing is added

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Hex(std::string_view bytes);

// Of all of a file, read in pieces. DataLoss if it has not `size_bytes`; otherwise what the file
// system says.
class FileSystem;
absl::StatusOr<std::string> Sha256OfFile(FileSystem& files, const std::string& path,
                                         int64_t size_bytes);

}  // namespace fttrain
