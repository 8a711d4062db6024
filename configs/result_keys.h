// Which keys of a config decide what a run computes, for whoever compares two runs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "configs/run_config.pb.h"

namespace fttrain::config {

// Those that are present, dotted ("data.train" as a whole), with their values as YAML has them. Not
// among them: how a run is laid out and where it is written, microbatches (of which only the rows
// of a step count, but with train.router_aux_loss_coef, which is a loss of each), and paths, whose
// contents count.
std::map<std::string, std::string> ResultKeys(const RunConfig& config);

// Those that all ranks must have alike: all but paths of folders and data, which are a host's own.
std::map<std::string, std::string> KeysOfAllRanks(const RunConfig& config);

// InvalidArgument if `name` is neither a key that ResultKeys may have nor "data", "model" or
// "adapter.init_from", with the nearest of them. `key` is what to call the list of names.
absl::Status CheckResultKey(const std::string& name, const std::string& key);

}  // namespace fttrain::config
