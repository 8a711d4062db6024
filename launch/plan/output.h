// What a run says and leaves behind.
#pragma once

#include <string>

#include "configs/run_config.pb.h"

namespace fttrain {

struct Output {
  std::string folder;
  int64_t log_steps = 1;  // steps of a line on the terminal
};

// Of a config with defaults filled and validated.
inline Output OutputOf(const config::RunConfig& run) {
  return {run.output_dir(), run.train().log_steps()};
}

}  // namespace fttrain
