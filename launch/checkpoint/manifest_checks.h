// What must hold between the numbers of a manifest. Only manifest.cc and shard.cc use it.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "launch/checkpoint/manifest.h"

namespace fttrain {

// Whether a file of a checkpoint may have this name: plain, at most 255 bytes, and none of the
// protocol's own.
bool IsPlainName(std::string_view name);

// Of one tensor by itself, without its file: its words, shape, slice and part, and that numel
// values fit into the part. InvalidArgument "WHERE.KEY: ...".
absl::Status CheckTensor(const ManifestTensor& tensor, const std::string& where);

// All of a manifest. InvalidArgument "PATH: KEY: ...".
absl::Status CheckManifest(const Manifest& manifest, const std::string& path);

}  // namespace fttrain
