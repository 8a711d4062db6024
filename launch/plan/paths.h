// Paths of a config as people write them, and where a model named so is: in a folder, or in the
// cache that Hugging Face's tools download to (models--ORG--NAME with blobs/, refs/ and
// snapshots/).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "configs/run_config.pb.h"

namespace fttrain {

// ExpandHome for every key that the schema calls a path (is_path).
void ExpandPaths(config::RunConfig& run);

// The folders that Hugging Face's tools may have downloaded to, by the environment, as they look
// for one: HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub.
std::vector<std::string> HubCacheRoots();

// The folder with the model's config.json: `path` itself; of a cached model's folder
// (models--ORG--NAME) the snapshot that refs/main names, or the only one; of ORG/NAME, where no
// such folder exists, the same in the first of `roots` that has it. `key` is what to call the path
// in errors: model.path, --model. NotFound for what is not there, with the command that downloads
// it, and for a snapshot that is not complete; InvalidArgument where it is not clear which is
// meant.
absl::StatusOr<std::string> FindModelFolder(const std::string& path, const std::string& key,
                                            const std::vector<std::string>& roots);

// model.path becomes that folder. InvalidArgument where there is no such key.
absl::Status ResolveModelPath(config::RunConfig& run);

// ORG/NAME of a snapshot in the cache: a name that means the model on other machines, too. Any
// other folder as it is.
std::string HubNameOf(const std::string& folder);

}  // namespace fttrain
