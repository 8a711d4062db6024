// What a checkpoint says of itself: its files with sizes and hashes, and which bytes of which file
// are which part of which tensor. A pure form: nothing here reads or writes files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

inline constexpr int kManifestVersion = 1;
inline constexpr int64_t kMaxManifestBytes = int64_t{1} << 28;

// A file of the checkpoint's folder, of which the manifest is none.
struct ManifestFile {
  std::string name;  // plain: no folder, no leading dot; not a name of the protocol's own
  int64_t bytes = 0;
  std::string sha256;  // 64 lower-case hexadecimal digits
  std::string host;    // that wrote it, for messages; may be empty
};

// A run of one tensor's values. Offsets count values, data_* bytes.
struct ManifestTensor {
  std::string name;                   // canonical: the same in every layout
  std::string kind;                   // what it is of that parameter: "master", "exp_avg", ...
  std::string dtype;                  // as safetensors spells it: F64, F32, BF16, U8, ...
  std::vector<int64_t> global_shape;  // of the whole tensor; at most 8 dimensions
  // The slice: `extent` of dimension `dim` from `offset` on; dim -1 (with 0 and 0) is all of it.
  int dim = -1;
  int64_t offset = 0, extent = 0;
  // The part of the flattened slice: [begin, end).
  int64_t begin = 0, end = 0;
  // Values that are stored for it: end - begin, or fewer for kinds that have one value for several
  // elements (a scale of a block, a counter).
  int64_t numel = 0;
  std::string file;
  int64_t data_begin = 0, data_end = 0;  // from the beginning of the FILE; numel times dtype
};

struct Manifest {
  int format_version = kManifestVersion;
  int64_t step = 0;
  std::vector<ManifestFile> files;
  std::vector<ManifestTensor> tensors;
  std::map<std::string, std::string> digests;   // of config, base model, tokenizer, data, ...
  std::map<std::string, std::string> versions;  // of libraries and of the program
  std::string layout;                           // in words
  std::map<std::string, std::string> notes;     // small state
};

// Equal manifests give equal text. InvalidArgument, with the key, for what ParseManifest refuses.
absl::StatusOr<std::string> ManifestText(const Manifest& manifest);

// The manifest of a text that nobody vouches for; `path` is for messages, which name it and the
// key: "PATH: tensors[3].data_end: ...". Strict: all keys are there and no other, files and tensors
// appear once, every number is in its range, every range inside its file and slice, and no two of a
// file, or of one tensor's kind and slice, overlap. InvalidArgument; DataLoss, with both versions,
// for a format this program does not know (IsOtherFormat).
absl::StatusOr<Manifest> ParseManifest(std::string_view text, const std::string& path);

// Whether a status says that a checkpoint has another format, not that it is damaged.
bool IsOtherFormat(const absl::Status& status);

// Bytes of one value; 0 for a word that is no dtype.
int64_t ManifestDtypeBytes(std::string_view dtype);

}  // namespace fttrain
