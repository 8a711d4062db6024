// A file's bytes, unpacked where it is a gzip file: known by its first bytes, whatever its name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // At least one byte and at most `size`; 0 behind the last. Errors name the file: DataLoss where
  // it cannot be read, InvalidArgument for gzip data that is damaged or cut off.
  virtual absl::StatusOr<size_t> Read(char* to, size_t size) = 0;
  virtual bool is_packed() const { return false; }  // in the file
};

// A path in messages: whole, or printable and cut where it has control characters.
std::string PathInWords(const std::string& path);

// NotFound if there is no such file, InvalidArgument if it is no regular one.
absl::StatusOr<std::unique_ptr<ByteStream>> OpenBytes(const std::string& path);

// A stream with what is read ahead of it: one block.
class ByteReader {
 public:
  explicit ByteReader(std::unique_ptr<ByteStream> stream);

  // What is there, at least one byte; empty behind the last, and for good after an error.
  std::string_view Ahead();
  // The first `count` bytes of Ahead() are done with.
  void Take(size_t count);
  // The next byte; -1 where Ahead() is empty.
  int Peek() {
    const std::string_view ahead = Ahead();
    return ahead.empty() ? -1 : static_cast<unsigned char>(ahead[0]);
  }
  int64_t lines() const { return lines_; }  // LFs taken
  bool is_packed() const { return stream_->is_packed(); }
  const absl::Status& status() const { return status_; }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::string block_;
  std::string_view ahead_;
  int64_t lines_ = 0;
  bool ended_ = false;
  absl::Status status_;
};

}  // namespace fttrain
