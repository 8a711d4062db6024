// Which adapter a config asks for.
#pragma once

#include "absl/status/statusor.h"
#include "configs/run_config.pb.h"
#include "model/config/spec.h"
#include "model/linears/adapter.h"

namespace fttrain {

// adapter.* of a config with defaults filled. With adapter.init_from what is not written is that
// adapter's, and what is must mean the same on this model: DataLoss names both, and so does what
// ReadAdapterConfig refuses. InvalidArgument as CheckAdapter and, without init_from,
// CheckAdapterEntries. Reads adapter_config.json.
absl::StatusOr<AdapterForm> AdapterFormOf(const config::RunConfig& run, const ModelSpec& model);

// adapter.* of `run` becomes what `form` has where nothing is written, for the resolved config.
void RecordAdapterForm(const AdapterForm& form, config::RunConfig& run);

}  // namespace fttrain
