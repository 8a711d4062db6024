// config.json's quantization_config, as transformers writes it for bitsandbytes, or for gpt-oss'
// MXFP4. What it says beyond "NF4 in 4 bits" (block size, double quantisation, which modules)
// follows from the tensors.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace fttrain {

// InvalidArgument naming `where` and the key for every other method, type or number of bits, and
// for keys that are not known.
absl::Status CheckQuantizationConfig(const nlohmann::json& quantization, const std::string& where);

// Whether the method is mxfp4; InvalidArgument for keys beside it that are not known. What is MXFP4
// follows from the tensors.
bool IsMxfp4Config(const nlohmann::json& quantization);
absl::Status CheckMxfp4Config(const nlohmann::json& quantization, const std::string& where);

// The value transformers reads: `skipped` modules stay dense (their full names or last parts),
// compute_dtype is "float32", "bfloat16" or "float16".
nlohmann::ordered_json MakeQuantizationConfig(bool double_quant, const std::string& compute_dtype,
                                              const std::vector<std::string>& skipped);

}  // namespace fttrain
