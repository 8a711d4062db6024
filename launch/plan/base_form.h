// How the frozen base is stored: what adapter.quantization asks for, and what the model's folder
// says.
#pragma once

#include "absl/status/status.h"
#include "configs/load_config.h"
#include "model/config/spec.h"
#include "model/linears/parameters.h"

namespace fttrain {

// Sets nf4, nf4_dense and nf4_experts of `form`, whose compute is set. A folder in 16 or 32 bits is
// quantised with adapter.method qlora, from its own values whatever computes with them, as `fttrain
// quantize` does (in a float32 run nothing of what 4 bits stand for is rounded); a quantised folder
// is used as it is, and a written key of adapter.quantization that it contradicts is
// InvalidArgument. In training a quantised folder needs method qlora. Reads the folder's headers
// and quant states.
absl::Status SetBaseForm(const config::LoadedConfig& loaded, const ModelSpec& model, bool training,
                         ParameterForm& form);

// adapter.quantization of `run` becomes what `form` has, for the resolved config.
void RecordBaseForm(const ParameterForm& form, config::RunConfig& run);

}  // namespace fttrain
