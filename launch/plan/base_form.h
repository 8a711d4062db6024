// How the frozen base is held: what adapter.quantization and memory.embedding ask for, and what the
// model's folder says.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "configs/load_config.h"
#include "model/config/model_config.h"
#include "model/network/transformer.h"

namespace fttrain {

// Sets nf4, nf4_dense and embedding_on_host of `options`, whose compute is set. A folder in 16 or
// 32 bits is quantised with adapter.method qlora; a quantised folder is used as it is, and a
// written key of adapter.quantization that it contradicts is InvalidArgument. In training a
// quantised folder needs method qlora. Reads the folder's headers and quant states.
absl::Status SetBaseForm(const config::LoadedConfig& loaded, const std::string& folder,
                         const ModelSpec& model, bool training, ModelOptions& options);

// adapter.quantization of `run` becomes what `options` has, for the resolved config.
void RecordBaseForm(const ModelOptions& options, config::RunConfig& run);

}  // namespace fttrain
