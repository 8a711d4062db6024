// PEFT's adapter_config.json. What PEFT can say and we cannot do is refused by file and key, and so
// is a key that is not known here.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "model/linears/adapter_form.h"

namespace fttrain {

inline constexpr char kAdapterConfigFile[] = "adapter_config.json";

// The file of an adapter's folder.
std::string AdapterConfigPath(const std::string& folder);

// Reads it. InvalidArgument naming file and key for other methods than plain LoRA: DoRA, bias,
// modules_to_save, initialisations that change the base, ... Which modules are meant is of no
// concern yet (CheckAdapter).
absl::StatusOr<AdapterForm> ReadAdapterConfig(const std::string& folder);

// The file's text. PEFT gives it the same modules, ranks and scales.
std::string AdapterConfigJson(const AdapterForm& form);

}  // namespace fttrain
