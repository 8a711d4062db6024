// The YAML of a run and, behind the first part, its overrides.
#include <google/protobuf/util/message_differencer.h>

#include "configs/load_config.h"
#include "configs/to_yaml.h"
#include "configs/validate_config.h"
#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {

std::vector<std::string> Seeds() {
  const std::string run =
      "model: {path: /m}\n"
      "adapter:\n  method: lora\n  r: 8\n  target_modules: [q_proj, v_proj]\n"
      "data:\n  train:\n    - path: a.jsonl\n      format: messages\n      fields: {messages: "
      "dialog}\n"
      "  sequence_len: 512\n"
      "train: {max_steps: 10, micro_batch_size: 2}\n"
      "optimizer:\n  learning_rate: 1.0e-4\n"
      "output_dir: out\n";
  return {run, run + kNextPart + "train.seed=7" + kNextPart + "data.train.0.path=x",
          R"({"model": {"path": "m"}, "output_dir": "o", "data": {"train": [{"path": "x"}]}})"};
}

std::vector<std::string> Words() {
  return {"parallel:",
          "tensor: 2",
          "pipeline: 2",
          "adapter:",
          "method: none",
          "quantization:",
          "schedule:",
          "name: cosine",
          "lora_r: 8",
          "&a ",
          "*a",
          "<<: *a",
          "? ",
          "|\n",
          ">-\n",
          "!!str ",
          R"("\_")",
          "%YAML 1.2\n",
          "---\n",
          "...\n",
          "- ",
          "~",
          "yes",
          "0x10",
          ".inf",
          ".nan",
          "1_000",
          "{}",
          "[]",
          "\n  ",
          "train.seed=",
          "device: cpu\n",
          "precision: {compute: bf16}\n",
          "data.train.99999999999.path=",
          std::string(1, kNextPart)};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  std::vector<std::string> parts = Parts(data, size);
  // The command line is the user's own, and is shown as it was given: ASCII here.
  for (size_t i = 1; i < parts.size(); ++i) {
    std::erase_if(parts[i], [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
  }
  const auto loaded =
      config::ParseRunConfig(parts[0], "run.yaml", {parts.begin() + 1, parts.end()});
  if (!loaded.ok()) return Refused(loaded.status());
  ++accepted;
  for (const int world_size : {1, 4}) {
    const absl::Status valid = config::Validate(*loaded, world_size);
    if (!valid.ok()) Refused(valid);
  }
  // What is printed is the run. Of some inputs: printing two files and reading them costs ten times
  // what the input does.
  if (size % 16 != 0) return 0;
  for (const auto comments : {config::Comments::kNone, config::Comments::kSchema}) {
    const std::string yaml = config::ToYaml(loaded->config, comments);
    const auto again = config::ParseRunConfig(yaml, "again.yaml", {});
    if (again.ok() &&
        google::protobuf::util::MessageDifferencer::Equals(again->config, loaded->config))
      continue;
    std::fprintf(stderr, "%s\n%s\n", yaml.c_str(), again.status().ToString().c_str());
    abort();
  }
  return 0;
}
