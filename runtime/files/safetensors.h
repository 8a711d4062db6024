// Reader and writer of the safetensors format (8-byte little-endian header length, JSON header,
// row-major data without holes) and of Hugging Face's sharded folders
// (model.safetensors.index.json). Inputs are untrusted: bounded, checked arithmetic, strict; pread
// only, so a shrinking file is an error, not a signal.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/files/whole_file.h"

namespace fttrain {

enum class SafetensorsDtype { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };
int64_t DtypeBytes(SafetensorsDtype dtype);
std::string_view DtypeName(SafetensorsDtype dtype);
std::optional<SafetensorsDtype> DtypeOf(std::string_view name);  // nothing for another word

struct SafetensorsEntry {
  SafetensorsDtype dtype;
  std::vector<int64_t> shape;  // at most 8 dimensions
  int64_t offset_bytes;        // of the data in the file, absolute
  int64_t size_bytes;
};

// One open file. Thread-safe reads.
class SafetensorsFile {
 public:
  // Parses and validates the header. Errors name the file and, where one is at fault, tensor and
  // offset: NotFound, else InvalidArgument.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry, std::less<>>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Reads size bytes at offset_bytes into the tensor's data. DataLoss on a short read, OutOfRange
  // outside the tensor.
  absl::Status ReadBytes(std::string_view name, int64_t offset_bytes, int64_t size_bytes,
                         void* destination) const;

 private:
  SafetensorsFile() = default;
  std::string path_;
  int fd_ = -1;
  std::map<std::string, SafetensorsEntry, std::less<>> entries_;
  std::map<std::string, std::string> metadata_;
};

// A model folder: model.safetensors, or else an index and its shards. Lists every missing shard at
// once; shard names must be plain basenames of regular files (symlinks to regular files are
// allowed); a tensor in two shards is an error, and so is one that the index promises and its shard
// lacks. Refuses folders that hold only *.bin, *.pt or *.gguf with a hint. Thread-safe reads.
class SafetensorsFolder {
 public:
  static absl::StatusOr<std::unique_ptr<SafetensorsFolder>> Open(const std::string& folder);
  // A single file of any name, seen as a folder.
  static absl::StatusOr<std::unique_ptr<SafetensorsFolder>> OpenFile(const std::string& path);

  const std::string& path() const { return path_; }
  std::vector<std::string> Names() const;  // sorted
  bool Contains(std::string_view name) const;
  // Null if absent. Valid as long as *this.
  const SafetensorsEntry* Find(std::string_view name) const;
  // The file that holds the tensor; the folder if none does. For messages.
  const std::string& PathOf(std::string_view name) const;
  // NotFound if absent.
  absl::Status ReadBytes(std::string_view name, int64_t offset_bytes, int64_t size_bytes,
                         void* destination) const;

 private:
  SafetensorsFolder() = default;
  absl::Status Add(std::unique_ptr<SafetensorsFile> file);
  absl::Status AddShards(const std::string& index_path);

  std::string path_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*, std::less<>> owner_;
};

// Writes one file: declare every tensor, then append their data in declaration order, in pieces of
// any size. Data goes to PATH.tmp-<pid>; Finish() fsyncs and renames, so PATH is never half
// written. A writer that is destroyed before Finish() removes its temporary file. Errors carry
// errno text (disk full, ...).
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    SafetensorsDtype dtype;
    std::vector<int64_t> shape;
  };
  // InvalidArgument for a name declared twice, a negative dimension or text that is not UTF-8.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      const std::string& path, const std::vector<Tensor>& tensors,
      const std::map<std::string, std::string>& metadata);
  absl::Status Append(const void* data, int64_t size_bytes);
  absl::Status Finish();  // FailedPrecondition unless exactly all declared bytes were appended

 private:
  SafetensorsWriter() = default;
  AtomicFile file_;
  int64_t remaining_bytes_ = 0;
};

}  // namespace fttrain
