#include "launch/init/starter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

using Keys = std::vector<std::pair<std::string, std::string>>;

// As it is, unless YAML would read something else.
std::string Scalar(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '/' || c == '-';
  });
  return plain && text[0] != '-' && !(text[0] >= '0' && text[0] <= '9')
             ? text
             : nlohmann::json(text).dump();
}

// A comment of one line each.
std::string Comment(const std::string& text) {
  std::string line;
  for (const char c : text) line += c == '\n' || c == '\r' ? ' ' : c;
  return line.empty() ? "" : absl::StrCat("  # ", line);
}

// `given` with the layout's keys of the section in place of its own.
std::string Section(const std::string& section, Keys given, const Keys& layout) {
  for (const auto& [key, value] : layout) {
    if (!absl::StartsWith(key, section + ".")) continue;
    const std::string name = key.substr(section.size() + 1);
    const auto there = std::find_if(given.begin(), given.end(),
                                    [&](const auto& each) { return each.first == name; });
    if (there != given.end()) {
      there->second = value;
    } else {
      given.emplace_back(name, value);
    }
  }
  if (given.empty()) return "";
  const auto pair = [](std::string* text, const auto& each) {
    absl::StrAppend(text, each.first, ": ", each.second);
  };
  return absl::StrFormat("%-10s {%s}\n", section + ":", absl::StrJoin(given, ", ", pair));
}

std::string Head(const Starter& s) {
  const std::string mpirun = s.ranks > 1 ? absl::StrCat("mpirun -np ", s.ranks, " ") : "";
  return absl::StrCat(
      "# ", s.model, ", ", s.method == "none" ? "all weights" : s.method,
      ", by `fttrain init`.\n#\n", "#   ", mpirun,
      "fttrain check run.yaml    # all that a run does, on a few rows\n", "#   ", mpirun,
      "fttrain train run.yaml\n#\n", "# Layout: ", s.layout_why, ".\n",
      "# `fttrain train --print-config run.yaml` shows every other key and what it means.\n");
}

std::string Adapter(const Starter& s) {
  if (s.method == "none") return "adapter:   {method: none}   # every weight is trained\n";
  std::string text =
      absl::StrCat("adapter:\n  method: ", s.method,
                   s.method == "qlora" ? "           # the frozen base in 4 bits\n" : "\n");
  absl::StrAppend(&text,
                  "  r: 16                   # rank: more learns more, and takes more memory\n",
                  "  alpha: 32               # the update counts alpha / r\n",
                  "  target_modules: ", s.target_modules, "\n");
  return text;
}

std::string Data(const Starter& s) {
  std::string text =
      absl::StrCat("data:\n  train:\n    - {path: ", Scalar(s.data), ", format: ", s.format, "}",
                   Comment(s.format_why), "\n  sequence_len: ", s.sequence_len);
  if (s.longest > 0) {
    absl::StrAppend(&text, Comment(absl::StrCat("the longest of the first rows has ",
                                                Counted(s.longest, "token"))));
  }
  absl::StrAppend(&text, "\n  packing: ", s.packing ? "true" : "false",
                  Comment(s.packing ? "several examples share a row; they never see each other"
                                    : "one example a row: there are few"),
                  "\n");
  if (!s.chat_template.empty()) {
    absl::StrAppend(&text, "  chat_template: ", s.chat_template, Comment(s.template_why), "\n");
  }
  return text;
}

}  // namespace

std::string StarterYaml(const Starter& s) {
  const Keys train = {{"num_epochs", absl::StrCat(s.epochs)},
                      {"micro_batch_size", "1"},
                      {"gradient_accumulation_steps",
                       absl::StrCat(std::max<int64_t>(1, s.rows_per_step / s.ranks))},
                      {"seed", "42"},
                      {"save_steps", "50"},
                      {"save_total_limit", "2"}};
  const Keys optimizer = {{"learning_rate", s.method == "none" ? "2.0e-5" : "2.0e-4"}};
  const Keys schedule = {{"name", "cosine"}, {"warmup_steps", absl::StrCat(s.warmup_steps)}};
  return absl::StrCat(Head(s), "model:     {path: ", Scalar(s.model), "}\n", Adapter(s), Data(s),
                      Section("train", train, s.layout), Section("optimizer", optimizer, s.layout),
                      Section("schedule", schedule, s.layout), Section("parallel", {}, s.layout),
                      Section("memory", {}, s.layout), "output_dir: ", Scalar(s.output_dir), "\n");
}

}  // namespace fttrain
