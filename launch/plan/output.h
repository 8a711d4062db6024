// What a run says and when, what it leaves behind, and what is gone with it.
#pragma once

#include <string>

#include "configs/run_config.pb.h"

namespace fttrain {

struct Output {
  std::string folder;
  std::string scratch_folder = {};  // of files without a name; `folder` where none is given
  int64_t log_steps = 1;            // steps of a line on the terminal
  int64_t timeout_seconds = 0;      // that a rank may stand still in a step; 0: for ever
};

// Of a config with defaults filled and validated.
inline Output OutputOf(const config::RunConfig& run) {
  const std::string& scratch = run.memory().scratch_folder();
  return {run.output_dir(), scratch.empty() ? run.output_dir() : scratch, run.train().log_steps(),
          run.parallel().timeout_seconds()};
}

}  // namespace fttrain
