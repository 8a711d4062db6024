// Which adapter a config asks for.
#pragma once

#include "absl/status/statusor.h"
#include "configs/load_config.h"
#include "model/config/spec.h"
#include "model/linears/adapter.h"

namespace fttrain {

// The config with defaults filled; of a model with experts, unless target_modules is written or
// init_from's, with all that may have an adapter there, which all-linear does not mean to PEFT.
config::RunConfig WithOwnTargets(const config::LoadedConfig& loaded, const ModelSpec& model);

// adapter.* of a config with defaults filled. With adapter.init_from what is not written is that
// adapter's, and what is must mean the same on this model: DataLoss names both, and so does what
// ReadAdapterConfig refuses. InvalidArgument as CheckAdapter and, without init_from,
// CheckAdapterEntries. Reads adapter_config.json.
absl::StatusOr<AdapterForm> AdapterFormOf(const config::RunConfig& run, const ModelSpec& model);

// adapter.* of `run` becomes what `form` has where nothing is written, for the resolved config.
void RecordAdapterForm(const AdapterForm& form, config::RunConfig& run);

}  // namespace fttrain
