// What a run says and leaves behind, and what is gone with it.
#pragma once

#include <string>

#include "configs/run_config.pb.h"

namespace fttrain {

struct Output {
  std::string folder;
  std::string scratch_folder = {};  // of files without a name; empty: `folder`
  int64_t log_steps = 1;  // steps of a line on the terminal
};

// Of a config with defaults filled and validated.
inline Output OutputOf(const config::RunConfig& run) {
  return {run.output_dir(), run.memory().scratch_folder(), run.train().log_steps()};
}

}  // namespace fttrain
