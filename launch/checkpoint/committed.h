// Checkpoints that were committed, as a loader sees them: nothing is believed that was not checked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launch/checkpoint/manifest.h"
#include "runtime/files/file_system.h"

namespace fttrain {

// COMMIT is the manifest's hash, the manifest is sound, and every file of it is there, regular and
// of its size. What the files hold is checked by VerifyFile, by whoever reads them.
struct Committed {
  int64_t step = 0;
  std::string path;  // OUT/checkpoints/step-N
  Manifest manifest;
};

struct Rejected {
  std::string path;
  absl::Status why;  // names the file; IsOtherFormat(why): not damaged, but of another version
};

struct Listing {
  std::vector<Committed> committed;    // newest first
  std::vector<Rejected> rejected;      // everything else that is named step-...
  std::vector<std::string> leftovers;  // paths of .tmp-* and .trash-*
  // Whether nothing was ever saved here: a fresh start loses nothing. If it is false and
  // `committed` is empty, training must stop, not begin again.
  bool nothing_here() const { return committed.empty() && rejected.empty() && leftovers.empty(); }
};

// One folder step-N. DataLoss, with the file, for what is missing, damaged or a link; otherwise
// what the file system says.
absl::StatusOr<Committed> ReadCommitted(FileSystem& files, const std::string& path, int64_t step);

// Reads and hashes all of one file. DataLoss, with its path, if it is not what was written. Any
// rank and thread.
absl::Status VerifyFile(FileSystem& files, const Committed& checkpoint, const ManifestFile& file);

// Reads `size_bytes` at `offset` of a file of the checkpoint, without a check of what they are.
// OutOfRange beyond the file's end, DataLoss if it has become shorter. Any rank and thread.
absl::Status ReadRange(FileSystem& files, const Committed& checkpoint, std::string_view file,
                       int64_t offset, void* destination, int64_t size_bytes);

}  // namespace fttrain
