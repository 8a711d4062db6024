// The JSON header of a safetensors file, and what is common to reader and writers. Only
// safetensors*.cc and the writer of checkpoints use it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/files/safetensors.h"

namespace fttrain {

inline constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
inline constexpr int64_t kMaxTensorsPerFile = 250'000;
inline constexpr size_t kMaxRank = 8;
inline constexpr size_t kMaxNameBytes = 4096;

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry, std::less<>> entries;
  std::map<std::string, std::string> metadata;
};

// Parses the header's JSON. The entries' offsets become absolute by adding data_start; they must
// cover [data_start, file_bytes) exactly, each byte once. `path` is for messages.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, int64_t data_start,
                                                         int64_t file_bytes,
                                                         const std::string& path);

// A file's first bytes: header length, JSON, spaces up to a multiple of 8 so that data is aligned.
// Data follow in the tensors' order without holes; their bytes go to *data_bytes. InvalidArgument
// as SafetensorsWriter::Create.
absl::StatusOr<std::string> SafetensorsPreamble(
    const std::vector<SafetensorsWriter::Tensor>& tensors,
    const std::map<std::string, std::string>& metadata, int64_t* data_bytes);

// Bytes of a tensor; nothing if a dimension is negative or the size exceeds 2^63 - 1.
std::optional<int64_t> TensorBytes(SafetensorsDtype dtype, const std::vector<int64_t>& shape);

}  // namespace fttrain
