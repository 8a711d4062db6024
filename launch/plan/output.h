// What a run says and when, what it leaves behind and goes on from, and what is gone with it.
#pragma once

#include <string>
#include <vector>

#include "configs/run_config.pb.h"

namespace fttrain {

struct Output {
  std::string folder;
  std::string scratch_folder = {};  // of files without a name; `folder` where none is given
  int64_t log_steps = 1;            // steps of a line on the terminal
  int64_t timeout_seconds = 0;      // that a rank may stand still in a step; 0: for ever
  int64_t save_steps = 0;           // steps from a checkpoint to the next; 0: none
  int keep_checkpoints = 0;         // the newest; 0: all
  std::string resume = "auto";      // or never, or a checkpoint's folder
  std::vector<std::string> allow_changed = {};  // keys, data, model
  int64_t disk_full_seconds = 0;                // to wait for room for the result
  int64_t check_replicas_steps = 0;  // from a comparison of replicas to the next; 0: none
  int64_t memory_limit_bytes = 0;    // of a rank's device; 0: what is free
  int64_t eval_steps = 0;            // from an evaluation to the next; 0: at the end alone
  bool keeps_best = false;           // the result is that of the lowest evaluation
  std::string sample_prompts = {};   // a file of them, answered after evaluations; empty: none
  int64_t sample_max_new_tokens = 64;
  std::string token_cache = "auto";  // a folder, or auto, or none (run/training_data.h)

  bool saves() const { return save_steps > 0 || keeps_best; }  // checkpoints, while it trains
};

// Of a config with defaults filled and validated.
inline Output OutputOf(const config::RunConfig& run) {
  const std::string& scratch = run.memory().scratch_folder();
  return {run.output_dir(),
          scratch.empty() ? run.output_dir() : scratch,
          run.train().log_steps(),
          run.parallel().timeout_seconds(),
          run.train().save_steps(),
          run.train().save_total_limit(),
          run.train().resume(),
          {run.train().allow_changed().begin(), run.train().allow_changed().end()},
          run.train().disk_full_wait(),
          run.train().check_replicas_steps(),
          static_cast<int64_t>(run.memory().limit() * (int64_t{1} << 30)),
          run.train().eval_steps(),
          run.train().load_best_model_at_end(),
          run.train().sample_prompts(),
          run.train().has_sample_max_new_tokens() ? run.train().sample_max_new_tokens() : 64,
          run.data().cache_dir()};
}

// Where a run leaves what it has trained: an adapter, or all weights.
inline std::string ResultFolder(const std::string& output_folder, bool trains_all) {
  return output_folder + (trains_all ? "/model" : "/adapter");
}

}  // namespace fttrain
