// YAML file + overrides -> RunConfig with defaults. Only what one key alone can get wrong is
// checked here (its name, type, range, word); what several keys together can is
// validate_config.h's.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "configs/run_config.pb.h"

namespace fttrain::config {

// Where each written key stands: "data.train[0].path" -> "run.yaml:7", or "--set train.seed=7".
// Sections count as keys; keys that come from defaults are absent.
using KeyLocations = std::map<std::string, std::string>;

struct LoadedConfig {
  RunConfig config;  // with defaults filled (defaults.h)
  KeyLocations where;
  std::string filename;  // as given
  std::vector<std::string> overrides;
};

// Reads `path` (YAML, so JSON too), then applies `overrides` in order, each "section.key=value"
// with the value in YAML ("adapter.target_modules=[q_proj, v_proj]"; list elements by index:
// "data.train.0.path=x"; an empty value takes the key out). A key without a value counts as absent.
// Paths inside the file stay as written: relative ones are relative to the current folder, not to
// the file. Keys known from axolotl, LLaMA-Factory, the HF Trainer and PEFT are answered with ours.
//
// Errors name every fault of the file and the overrides, one a line, sorted by line:
//   run.yaml:4: 'lora_r' is adapter.r here
// NotFound if there is no such file, else InvalidArgument. Reads the file whole; no other effect.
absl::StatusOr<LoadedConfig> LoadRunConfig(const std::string& path,
                                           const std::vector<std::string>& overrides);

// The same for text already in memory; `filename` only appears in errors.
absl::StatusOr<LoadedConfig> ParseRunConfig(const std::string& text, const std::string& filename,
                                            const std::vector<std::string>& overrides);

}  // namespace fttrain::config
