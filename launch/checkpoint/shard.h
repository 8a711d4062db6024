// One rank's part of a checkpoint, written into a staging folder (checkpoint_folder.h). No MPI and
// no tensors: the bytes are in host memory and stay unchanged until the call returns, so that any
// thread may write while training goes on.
// Errors are those of file_system.h: the attempt is lost, the staging folder is to be abandoned,
// and another attempt writes new files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "launch/checkpoint/manifest.h"
#include "runtime/files/file_system.h"

namespace fttrain {

struct ShardTensor {
  ManifestTensor about;        // without file and data range; numel and dtype give the bytes
  const void* data = nullptr;  // these bytes, in the machine's (little-endian) order
};

struct ShardWriting {
  std::string host;       // for the manifest
  bool read_back = true;  // hash what the file holds once more before it counts
};

struct WrittenShard {
  ManifestFile file;
  std::vector<ManifestTensor> tensors;  // in the order given, with file and data range
};

// Writes STAGING/shard-rRRRR.safetensors, a file that other tools open: its tensors are flat and
// named "NAME|kind|offset|begin". Creates, writes and hashes, fsyncs, closes, reads back, fsyncs
// the folder. InvalidArgument for a tensor that the manifest would refuse; DataLoss if what is read
// back is not what was written.
absl::StatusOr<WrittenShard> WriteShard(FileSystem& files, const std::string& staging_path,
                                        int rank, absl::Span<const ShardTensor> tensors,
                                        const ShardWriting& how = {});

// The same of a small file with a name of its own (an adapter's files, a config).
absl::StatusOr<ManifestFile> WriteExtraFile(FileSystem& files, const std::string& staging_path,
                                            const std::string& name, const std::string& contents,
                                            const ShardWriting& how = {});

}  // namespace fttrain
