// Reader and writer of the safetensors format (8-byte little-endian header length, JSON header, row-major
// data without holes) and of Hugging Face's sharded folders (model.safetensors.index.json). Inputs are
// untrusted: bounded, checked arithmetic, strict; pread only, so a shrinking file is an error, not a signal.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

enum class SafetensorsDtype { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };
int64_t DtypeBytes(SafetensorsDtype dtype);
std::string_view DtypeName(SafetensorsDtype dtype);

struct SafetensorsEntry {
  SafetensorsDtype dtype;
  std::vector<int64_t> shape;
  int64_t offset_bytes;  // of the data in the file, absolute
  int64_t size_bytes;
};

// One open file. Thread-safe reads.
class SafetensorsFile {
 public:
  // Parses and validates the header. Errors name the file and, where one is at fault, tensor and offset.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Reads size bytes at offset_bytes into the tensor's data. DataLoss on a short read.
  absl::Status ReadBytes(std::string_view name, int64_t offset_bytes, int64_t size_bytes,
                         void* destination) const;

 private:
  SafetensorsFile() = default;
  std::string path_;
  int fd_ = -1;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// A model folder: model.safetensors, or an index and its shards. Lists every missing shard at once; shard
// names must be plain basenames of regular files (symlinks to regular files are allowed); a tensor in two
// shards is an error. Refuses folders that hold only *.bin, *.pt or *.gguf with a hint.
class SafetensorsFolder {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFolder>> Open(const std::string& folder);
  std::vector<std::string> Names() const;
  bool Contains(std::string_view name) const;
  // Null if absent. Valid as long as *this.
  const SafetensorsEntry* Find(std::string_view name) const;
  // NotFound if absent.
  absl::Status ReadBytes(std::string_view name, int64_t offset_bytes, int64_t size_bytes,
                         void* destination) const;

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*, std::less<>> owner_;
};

// Writes one file: declare every tensor, then append their data in declaration order, in pieces of any size.
// Data goes to PATH.tmp-<pid>; Finish() fsyncs and renames, so PATH is never half written. A writer that is
// destroyed before Finish() removes its temporary file. Errors carry errno text (disk full, ...).
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    SafetensorsDtype dtype;
    std::vector<int64_t> shape;
  };
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, const std::vector<Tensor>& tensors,
      const std::map<std::string, std::string>& metadata);
  ~SafetensorsWriter();
  absl::Status Append(const void* data, int64_t size_bytes);
  absl::Status Finish();  // FailedPrecondition unless exactly all declared bytes were appended

 private:
  SafetensorsWriter() = default;
  std::string path_, temporary_path_;
  int fd_ = -1;
  int64_t remaining_bytes_ = 0;
};

// Writes a small text file the same way (temporary, fsync, rename).
absl::Status WriteFileAtomically(const std::string& path, std::string_view contents);
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes = int64_t{1} << 30);

}  // namespace fttrain
