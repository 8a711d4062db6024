// A config to begin with, as text that people read and change. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fttrain {

struct Starter {
  std::string model, method;  // model.path, adapter.method
  std::string target_modules = "all-linear";
  std::string data, format, format_why;
  int64_t sequence_len = 2048;
  int64_t longest = 0;  // tokens of the longest row that was read; 0: none was
  bool packing = true;
  std::string chat_template;  // empty: no format needs one
  std::string template_why;   // where it is not the model's own
  double epochs = 3;
  int64_t rows_per_step = 16, warmup_steps = 10;
  std::string output_dir;

  int ranks = 1;
  // Keys of the layout with their values, as YAML writes them: {"parallel.pipeline", "2"}. Those
  // of train are a step's rows in microbatches.
  std::vector<std::pair<std::string, std::string>> layout = {};
  std::string layout_why;
};

// Loads as a config (load_config.h). Ends with a newline.
std::string StarterYaml(const Starter& starter);

}  // namespace fttrain
