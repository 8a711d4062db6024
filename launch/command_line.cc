#include "launch/command_line.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/nearest_word.h"
#include "runtime/check.h"
#include "runtime/log.h"

namespace fttrain {
namespace {

struct Flag {
  const char* name;
  bool is_switch;
};
struct Command {
  const char* name;
  const char* purpose;
  std::vector<Flag> flags;
};

const std::vector<Command>& Commands() {
  static const std::vector<Command> commands = {
      {"train",
       "fine-tune: --config=FILE [--set path=value ...] [--print-config]",
       {{"config", false}, {"set", false}, {"print-config", true}}},
      {"verify",
       "train a few steps in the config's layout and on one rank, and compare every gradient and "
       "update: --config=FILE [--set path=value ...] [--steps=3] [--tolerance=ERROR] "
       "[--reference=tp=T,pp=P]",
       {{"config", false},
        {"set", false},
        {"steps", false},
        {"tolerance", false},
        {"reference", false}}},
      {"generate",
       "answer a prompt: --model=FOLDER | --config=FILE, [--adapter=FOLDER] --prompt=TEXT [--raw] "
       "[--max_new_tokens=64] [--temperature=0] [--seed=0] [--set path=value ...]",
       {{"config", false},
        {"set", false},
        {"model", false},
        {"adapter", false},
        {"prompt", false},
        {"raw", true},
        {"max_new_tokens", false},
        {"temperature", false},
        {"seed", false}}},
      {"logits",
       "write logits of token rows: --model=FOLDER | --config=FILE, [--adapter=FOLDER] "
       "--input=ROWS.jsonl "
       "--output=FILE.safetensors [--set path=value ...]",
       {{"config", false},
        {"set", false},
        {"model", false},
        {"adapter", false},
        {"input", false},
        {"output", false}}},
      {"quantize",
       "write a model's matrices as NF4 once, for qlora and transformers: --model=FOLDER "
       "--output=FOLDER [--block_size=64] [--double_quant=true] [--lm_head]",
       {{"model", false},
        {"output", false},
        {"block_size", false},
        {"double_quant", false},
        {"lm_head", true}}},
      {"merge",
       "write a model with an adapter merged into it: --model=FOLDER --adapter=FOLDER "
       "--output=FOLDER [--base=original|dequantized] [--quantize] [--block_size=64] "
       "[--double_quant=true] [--lm_head]",
       {{"model", false},
        {"adapter", false},
        {"output", false},
        {"base", false},
        {"quantize", true},
        {"block_size", false},
        {"double_quant", false},
        {"lm_head", true}}},
      {"help", "print this text", {}},
  };
  return commands;
}

const Command* FindCommand(const std::string& name) {
  for (const Command& command : Commands()) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

std::string DidYouMean(const char* prefix, const std::string& word,
                       const std::vector<std::string>& known) {
  const std::string nearest = config::NearestWord(word, known);
  return nearest.empty() ? "" : absl::StrCat(", did you mean '", prefix, nearest, "'?");
}

// The flag at argv[next], which then stands at its last word.
absl::Status ParseFlag(const Command& command, int argc, const char* const* argv, int& next,
                       CommandLine& line) {
  const std::string word = argv[next];
  if (!absl::StartsWith(word, "--") || word.size() < 3) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected word '", Printable(word),
                                                   "' after '", command.name,
                                                   "': flags are written --name=value"));
  }
  const size_t equals = word.find('=');
  const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
  const auto flag = std::find_if(command.flags.begin(), command.flags.end(),
                                 [&](const Flag& f) { return name == f.name; });
  if (flag == command.flags.end()) {
    std::vector<std::string> names;
    for (const Flag& f : command.flags) names.push_back(f.name);
    return absl::InvalidArgumentError(absl::StrCat("unknown flag '--", Printable(name), "' of '",
                                                   command.name, "'",
                                                   DidYouMean("--", name, names)));
  }
  std::string value = "true";
  if (equals != std::string::npos && flag->is_switch) {
    return absl::InvalidArgumentError(
        absl::StrCat("flag '--", name, "' takes no value: write --", name, " or leave it out"));
  }
  if (equals != std::string::npos) {
    value = word.substr(equals + 1);
  } else if (!flag->is_switch) {
    if (next + 1 >= argc) {
      return absl::InvalidArgumentError(absl::StrCat("flag '--", name, "' needs a value"));
    }
    value = argv[++next];
  }
  if (value.empty() && name != "prompt") {
    return absl::InvalidArgumentError(absl::StrCat("flag '--", name, "' needs a value"));
  }
  line.flags[name].push_back(value);
  return absl::OkStatus();
}

}  // namespace

std::string CommandLine::Get(const std::string& flag, const std::string& fallback) const {
  const auto it = flags.find(flag);
  return it == flags.end() ? fallback : it->second.back();
}

std::vector<std::string> CommandLine::All(const std::string& flag) const {
  const auto it = flags.find(flag);
  return it == flags.end() ? std::vector<std::string>{} : it->second;
}

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  CommandLine line;
  int next = 1;
  if (argc > 1 && argv[1][0] != '-') {
    line.command = argv[1];
    next = 2;
  } else {
    line.command = "train";
  }
  if (argc > 1 && (absl::string_view(argv[1]) == "--help" || absl::string_view(argv[1]) == "-h")) {
    line.command = "help";
    return line;
  }
  const Command* command = FindCommand(line.command);
  if (command == nullptr) {
    std::vector<std::string> names;
    for (const Command& c : Commands()) names.push_back(c.name);
    return absl::InvalidArgumentError(absl::StrCat("unknown command '", Printable(line.command),
                                                   "'", DidYouMean("", line.command, names),
                                                   "; commands: ", absl::StrJoin(names, ", ")));
  }
  for (; next < argc; ++next) {
    const std::string word = argv[next];
    if (word == "--help" || word == "-h") {
      line.command = "help";
      return line;
    }
    FT_RETURN_IF_ERROR(ParseFlag(*command, argc, argv, next, line));
  }
  return line;
}

std::string Usage() {
  std::string text = "usage: [mpirun -np N] fttrain [command] [flags]\n";
  for (const Command& command : Commands()) {
    absl::StrAppend(&text, "  ", command.name,
                    std::string(10 - std::string(command.name).size(), ' '), command.purpose, "\n");
  }
  absl::StrAppend(
      &text,
      "merge --base: `original` adds the adapter to the weights of --model as they are (the "
      "default).\n"
      "  `dequantized` adds it to what NF4 makes of them (--block_size, --double_quant, --lm_head "
      "as\n"
      "  in the run): the very model that a qlora run trained, whose errors of quantisation the\n"
      "  adapter has learnt to live with. A --model that is quantised has no other.\n"
      "  --quantize writes the result as NF4 again.\n"
      "Without a command, `train`; without --config, fttrain.yaml of the current folder.\n"
      "A run to try: mpirun -np 2 build/release/fttrain --config=configs/quickstart.yaml\n");
  return text;
}

}  // namespace fttrain
