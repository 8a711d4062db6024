// Answers to keys we do not have: names users bring from axolotl, LLaMA-Factory, the HF Trainer and
// PEFT, right keys in the wrong section, and misspellings.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace fttrain::config {

// The message for `key`, which `section` does not have. `path` is the section's dotted path, ""
// for the top level, "data.train[0]" inside a list. In this order: a name known from elsewhere
// ("'lora_r' is adapter.r here"), our key in another section ("'r' is adapter.r here"), the nearest
// key of this section, the nearest anywhere, the section's keys.
std::string UnknownKeyMessage(const google::protobuf::Descriptor& section, const std::string& path,
                              const std::string& key);

// "" or what a word that is no value of the enum field `key` most likely meant, where spelling does
// not tell ("bfloat16" -> "bf16").
std::string WordKnownElsewhere(const std::string& key, const std::string& word);

// A row of the table. `section` is where the name means this ("data.train[]"), "" for anywhere.
struct Hint {
  std::string section;
  std::string name;
  std::string key;   // ours, dotted; "" when nothing corresponds
  std::string note;  // value to give, or why there is no such key
};
const std::vector<Hint>& AllHints();

}  // namespace fttrain::config
