#include "launch/command_line.h"

#include <algorithm>
#include <type_traits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/hints.h"
#include "configs/nearest_word.h"
#include "configs/run_config.pb.h"
#include "launch/command_table.h"
#include "runtime/files/user_path.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

std::string DidYouMean(const char* prefix, const std::string& word,
                       const std::vector<std::string>& known) {
  const std::string nearest = config::NearestWord(word, known);
  return nearest.empty() ? "" : absl::StrCat(", did you mean '", prefix, nearest, "'?");
}

absl::StatusOr<const Command*> CommandOf(const std::string& name) {
  const Command* command = FindCommand(name);
  if (command != nullptr) return command;
  std::vector<std::string> names;
  for (const Command& known : Commands()) names.push_back(known.name);
  return absl::InvalidArgumentError(absl::StrCat("unknown command '", Printable(name), "'",
                                                 DidYouMean("", name, names),
                                                 "; commands: ", absl::StrJoin(names, ", ")));
}

bool NamesConfig(const std::string& word) {
  return absl::EndsWith(word, ".yaml") || absl::EndsWith(word, ".yml") ||
         absl::EndsWith(word, ".json");
}

// A word that is no flag: a config or an override.
absl::Status ParseWord(const Command& command, const std::string& word, CommandLine& line) {
  const bool config = command.TakesConfig();
  if (config && !absl::StartsWith(word, "-")) {
    const bool is_override = absl::StrContains(word, '=');
    if (is_override || NamesConfig(word)) {
      line.flags[is_override ? "set" : "config"].push_back(is_override ? word : ExpandHome(word));
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unexpected word '", Printable(word), "' after '", command.name, "': write ",
      config ? "a config as FILE.yaml or --config=FILE, a key of it as section.key=value, " : "",
      "a flag as --name=value"));
}

// "--adapter.r=4", or what no flag of the command is called. `written` is the name as typed, `name`
// with underscores.
absl::Status ParseKey(const Command& command, const std::string& written, const std::string& name,
                      const std::string* value, CommandLine& line) {
  const auto& keys = *config::RunConfig::descriptor();
  const bool is_key = absl::StrContains(name, '.') || keys.FindFieldByName(name) != nullptr;
  if (command.TakesConfig() && is_key) {
    if (value != nullptr) {
      line.flags["set"].push_back(absl::StrCat(name, "=", *value));
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "'--", Printable(written), "' has no value: write --", Printable(written), "=VALUE"));
  }
  std::vector<std::string> names;
  for (const Flag& flag : command.flags) names.push_back(flag.name);
  std::string hint = DidYouMean("--", name, names);
  if (hint.empty() && command.TakesConfig()) {
    hint = absl::StrCat(": ", config::UnknownKeyMessage(keys, "", Printable(name)));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag '--", Printable(written), "' of '", command.name, "'", hint));
}

// "-n3", "-n=3" or "-n" of a command with a flag of one letter, as "--n=3" or "--n"; else the word.
std::string WithTwoDashes(const Command& command, const std::string& word) {
  if (word.size() < 2 || word[0] != '-' || command.Find(word.substr(1, 1)) == nullptr) return word;
  const std::string value = word.substr(word.size() > 2 && word[2] == '=' ? 3 : 2);
  return absl::StrCat("--", word.substr(1, 1), value.empty() ? "" : "=", value);
}

// The flag at words[next], which then stands at its last word.
absl::Status ParseFlag(const Command& command, const std::vector<std::string>& words, size_t& next,
                       CommandLine& line) {
  const std::string& word = words[next];
  const size_t equals = word.find('=');
  const bool has_value = equals != std::string::npos;
  const std::string written = word.substr(2, has_value ? equals - 2 : equals);
  std::string name = written, value = has_value ? word.substr(equals + 1) : "";
  if (name.empty()) return ParseWord(command, word, line);
  std::replace(name.begin(), name.end(), '-', '_');
  const Flag* flag = command.Find(name);
  if (flag == nullptr) return ParseKey(command, written, name, has_value ? &value : nullptr, line);
  const bool is_switch = *flag->value == '\0';
  if (is_switch && has_value) {
    return absl::InvalidArgumentError(absl::StrCat(
        "flag '--", written, "' takes no value: write --", written, " or leave it out"));
  }
  const bool missing = !is_switch && !has_value && next + 1 == words.size();
  if (is_switch) {
    value = "true";
  } else if (!has_value && !missing) {
    value = words[++next];
  }
  if (missing || (value.empty() && name != "prompt")) {
    return absl::InvalidArgumentError(absl::StrCat("flag '--", written, "' needs a value"));
  }
  line.flags[name].push_back(flag->IsPath() ? ExpandHome(value) : value);
  return absl::OkStatus();
}

}  // namespace

std::string CommandLine::Get(const std::string& flag) const {
  const auto it = flags.find(flag);
  if (it != flags.end()) return it->second.back();
  const Flag* known = FindCommand(command)->Find(flag);
  FT_CHECK(known != nullptr, "'", command, "' has no flag '", flag, "'");
  return known->fallback;
}

std::vector<std::string> CommandLine::All(const std::string& flag) const {
  const auto it = flags.find(flag);
  return it == flags.end() ? std::vector<std::string>{} : it->second;
}

template <typename T>
absl::StatusOr<T> CommandLine::Number(const std::string& flag, absl::FunctionRef<bool(T)> fits,
                                      const char* must_be) const {
  const std::string text = Get(flag);
  T number = 0;
  bool is_number = false;
  if constexpr (std::is_same_v<T, double>) {
    is_number = absl::SimpleAtod(text, &number);
  } else {
    is_number = absl::SimpleAtoi(text, &number);
  }
  if (is_number && fits(number)) return number;
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, "=", Printable(text), ": must be ", must_be));
}
template absl::StatusOr<double> CommandLine::Number(const std::string&,
                                                    absl::FunctionRef<bool(double)>,
                                                    const char*) const;
template absl::StatusOr<int64_t> CommandLine::Number(const std::string&,
                                                     absl::FunctionRef<bool(int64_t)>,
                                                     const char*) const;

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  CommandLine line;
  line.command = "train";
  size_t next = 0;
  const bool named = !words.empty() && !absl::StartsWith(words[0], "-") &&
                     !absl::StrContains(words[0], '=') && !NamesConfig(words[0]);
  if (named) line.command = words[next++];
  FT_ASSIGN_OR_RETURN(const Command* command, CommandOf(line.command));
  if (line.command == "help" && next < words.size() && !absl::StartsWith(words[next], "-")) {
    line.topic = words[next++];
    FT_RETURN_IF_ERROR(CommandOf(line.topic).status());
  }
  for (; next < words.size(); ++next) {
    const std::string& word = words[next] = WithTwoDashes(*command, words[next]);
    if (word == "--help" || word == "-h") {
      if (named && line.topic.empty()) line.topic = line.command;
      line.command = "help";
      return line;
    }
    if (word == "--version") {
      line.command = "version";
      return line;
    }
    FT_RETURN_IF_ERROR(absl::StartsWith(word, "--") ? ParseFlag(*command, words, next, line)
                                                    : ParseWord(*command, word, line));
  }
  if (const std::vector<std::string> configs = line.All("config"); configs.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "two configs, '", Printable(configs[0]), "' and '", Printable(configs[1]), "': give one"));
  }
  return line;
}

}  // namespace fttrain
