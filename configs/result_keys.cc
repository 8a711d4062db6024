#include "configs/result_keys.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "configs/nearest_word.h"
#include "configs/schema.h"
#include "configs/to_yaml.h"

namespace fttrain::config {
namespace {

// Sections that decide nothing, and keys. A new key counts unless it is here.
constexpr const char* kOthers[] = {
    "model.path",  // compared by its files
    "adapter.init_from",
    "data.train[].path",  // compared by their rows
    "data.eval",
    "data.on_bad_row",
    "data.cache_dir",
    "train.micro_batch_size",
    "train.gradient_accumulation_steps",
    "train.eval_steps",
    "train.sample_prompts",
    "train.sample_max_new_tokens",
    "train.save_steps",
    "train.save_total_limit",
    "train.deterministic",
    "train.log_steps",
    "train.resume",
    "train.allow_changed",
    "train.disk_full_wait",
    "train.check_replicas_steps",
    "optimizer.device",
    "parallel",
    "memory",
    "device",
    "output_dir",
};

// Paths that may be others on another host. What is in the first is compared.
constexpr const char* kOfAHost[] = {"model.path",     "adapter.init_from",     "data.eval",
                                    "data.cache_dir", "memory.scratch_folder", "output_dir"};

constexpr char kRowsOfAMicrobatch[] = "train.micro_batch_size";

// Whether it is one of them, or in a section that is.
template <size_t n>
bool IsOneOf(const std::string& key, const char* const (&names)[n]) {
  return std::any_of(std::begin(names), std::end(names), [&](const char* name) {
    return key == name || absl::StartsWith(key, absl::StrCat(name, ".")) ||
           absl::StartsWith(key, absl::StrCat(name, "["));
  });
}

bool Decides(const std::string& key) { return !IsOneOf(key, kOthers); }

// Of ToYaml's lines, two blanks a level: "section:", "key: value", "- {element}".
template <typename Wanted>
std::map<std::string, std::string> KeysIf(const RunConfig& config, const Wanted& wanted) {
  RunConfig without_paths = config;
  for (DataSource& source : *without_paths.mutable_data()->mutable_train()) source.clear_path();
  std::map<std::string, std::string> keys;
  std::vector<std::string> path;
  const std::string yaml = ToYaml(without_paths);
  for (absl::string_view line : absl::StrSplit(yaml, '\n', absl::SkipEmpty())) {
    const size_t indent = line.find_first_not_of(' ');
    line.remove_prefix(indent);
    if (absl::ConsumePrefix(&line, "- ")) {
      const std::string list = absl::StrJoin(path, ".");
      if (wanted(list)) absl::StrAppend(&keys[list], line, " ");
      continue;
    }
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    path.resize(indent / 2);
    path.push_back(parts.first);
    const std::string key = absl::StrJoin(path, ".");
    const absl::string_view value = absl::StripLeadingAsciiWhitespace(parts.second);
    if (!value.empty() && wanted(key)) keys[key] = std::string(value);
  }
  return keys;
}

}  // namespace

std::map<std::string, std::string> ResultKeys(const RunConfig& config) {
  std::map<std::string, std::string> keys = KeysIf(config, Decides);
  if (config.train().router_aux_loss_coef() > 0) {
    keys[kRowsOfAMicrobatch] = absl::StrCat(config.train().micro_batch_size());
  }
  return keys;
}

std::map<std::string, std::string> KeysOfAllRanks(const RunConfig& config) {
  std::map<std::string, std::string> keys =
      KeysIf(config, [](const std::string& key) { return !IsOneOf(key, kOfAHost); });
  const std::string& resume = config.train().resume();
  if (resume != "auto" && resume != "never") keys["train.resume"] = "a folder";
  return keys;
}

absl::Status CheckResultKey(const std::string& name, const std::string& key) {
  std::vector<std::string> known = {"data", "model", "adapter.init_from", kRowsOfAMicrobatch};
  for (const std::string& each : AllKeys(*RunConfig::descriptor())) {
    if (Decides(each) && !absl::StrContains(each, "[]")) known.push_back(each);
  }
  if (std::count(known.begin(), known.end(), name) > 0) return absl::OkStatus();
  const std::string nearest = NearestWord(name, known);
  return absl::InvalidArgumentError(absl::StrCat(
      "'", key, "': '", name, "' is no key that decides what a run computes, nor data or model",
      nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?")));
}

}  // namespace fttrain::config
