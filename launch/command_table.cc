#include "launch/command_table.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace fttrain {
namespace {

constexpr Flag kRun = {"config", "FILE", "",
                       "the run, as a word too: run.yaml. Without it, fttrain.yaml of this folder"};
constexpr Flag kModelOfRun = {"config", "FILE", "",
                              "the run whose model and template to use, as a word too: run.yaml"};
constexpr Flag kRunOfAnswers = {"config", "FILE", "",
                                "the run whose model, template, layout and result to use, as a "
                                "word too: run.yaml.\nWithout it all ranks share each layer"};
constexpr Flag kSet = {"set", "KEY=VALUE", "",
                       "changes a key of the config, as adapter.r=8 and --adapter.r=8 do.\n"
                       "The last one of a key counts"};
constexpr Flag kModel = {"model", "FOLDER", "",
                         "a Hugging Face model: a folder, or ORG/NAME that is in its cache"};
constexpr Flag kModelOfConfig = {"model", "FOLDER", "", "in place of the config's model.path"};
constexpr Flag kAdapter = {"adapter", "FOLDER", "", "a PEFT adapter"};
constexpr Flag kAdapterOfRun = {"adapter", "FOLDER", "",
                                "a PEFT adapter; without it, what the config's run has left"};
constexpr Flag kSystem = {"system", "TEXT", "", "the system's words, before the conversation"};
constexpr Flag kMaxNewTokens = {"max_new_tokens", "N", "64", "most tokens of an answer"};
constexpr Flag kTemperature = {"temperature", "T", "0",
                               "0 takes the likeliest token, more draws among them"};
constexpr Flag kTopK = {"top_k", "K", "0", "draws among the K likeliest; 0: among all"};
constexpr Flag kTopP = {"top_p", "P", "1",
                        "draws among the likeliest that have probability P together"};
constexpr Flag kPenalty = {"repetition_penalty", "F", "1",
                           "above 1: what is there already becomes less likely"};
constexpr Flag kSeed = {"seed", "N", "0", "where the draws start"};
constexpr Flag kNewFolder = {"output", "FOLDER", "", "where to write it: a new folder"};
constexpr Flag kBlockSize = {"block_size", "N", "64", "elements that share a scale in NF4"};
constexpr Flag kDoubleQuant = {"double_quant", "true|false", "true", "scales in 8 bits"};
constexpr Flag kLmHead = {"lm_head", "", "", "the head in NF4 as well"};
constexpr Flag kExperts = {"experts", "true|false", "true",
                           "of a model with experts: their matrices in NF4 as well"};

// One flag a line, their meanings in one column.
std::string FlagLines(const Command& command) {
  const auto written = [](const Flag& flag) {
    if (flag.name[1] == '\0') return absl::StrCat("  -", flag.name, " ", flag.value);
    return absl::StrCat("  --", flag.name, *flag.value ? "=" : "", flag.value);
  };
  size_t width = 0;
  for (const Flag& flag : command.flags) width = std::max(width, written(flag).size() + 2);
  const std::string indent(width, ' ');
  std::string text;
  for (const Flag& flag : command.flags) {
    const std::string name = written(flag);
    absl::StrAppend(&text, name, indent.substr(name.size()),
                    absl::StrReplaceAll(flag.meaning, {{"\n", "\n" + indent}}));
    if (*flag.fallback) absl::StrAppend(&text, " (default: ", flag.fallback, ")");
    absl::StrAppend(&text, "\n");
  }
  return text;
}

std::string UsageOf(const Command& command) {
  const bool config = command.TakesConfig();
  const bool parallel = (config && command.Find("ranks") == nullptr) ||  // else it counts for them
                        absl::StartsWith(command.example, "mpirun");
  return absl::StrCat("fttrain ", command.name, ": ", command.purpose,
                      "\n\nusage: ", parallel ? "[mpirun -np N] " : "", "fttrain ", command.name,
                      config ? " [FILE.yaml] [section.key=value ...]" : "", " [--flag=value ...]\n",
                      FlagLines(command), command.note, "\nexample: ", command.example);
}

}  // namespace

bool Flag::IsPath() const {
  return absl::StartsWith(value, "FILE") || absl::StartsWith(value, "FOLDER");
}

const Flag* Command::Find(const std::string& flag) const {
  const auto it = std::find_if(flags.begin(), flags.end(),
                               [&](const Flag& known) { return flag == known.name; });
  return it == flags.end() ? nullptr : &*it;
}

const std::vector<Command>& Commands() {
  static const std::vector<Command> commands = {
      {"train",
       "fine-tune a model: its adapter or its weights, metrics and the config as it ran",
       "mpirun -np 2 fttrain train configs/quickstart.yaml adapter.r=8",
       {kRun,
        kSet,
        {"print_config", "", "", "print the config with every key's meaning, and stop"}}},
      {"verify",
       "train a few steps in the config's layout and in the smallest, and compare them whole",
       "mpirun -np 2 fttrain verify run.yaml --steps=5",
       {kRun,
        kSet,
        {"steps", "N", "3", "how many; fewer where the run has fewer"},
        {"tolerance", "ERROR", "", "the largest relative error; without it, by precision.compute"},
        {"reference", "tp=T,pp=P", "", "the layout to compare with; without it, the smallest"}}},
      {"plan",
       "tell what each rank of a run will hold, to the byte, how fast it is, and what fits a rig",
       "fttrain plan --rig=2x4090 --model=llama-3.1-70b --method=qlora",
       {kRun,
        {"model", "FOLDER", "",
         "in place of the config's model.path. config.json is read, and of a quantised base "
         "what\nsays how. Or a name as llama-3.1-70b: its shape is known without a folder"},
        {"rig", "CARDS", "",
         "the cards and their links: 2x4090, 1x24GB, 2xA6000-nvlink, 8x4090/2nodes, "
         "1x3090+1xA6000.\nWith a config, how long a step of it takes there; without one, the best "
         "layouts for\nthe --model: what fits, the fastest first"},
        {"search", "", "",
         "with a config, too: its keys of parallel, memory, optimizer and microbatches stay as\n"
         "written, what is not written is searched"},
        {"method", "qlora|lora|full", "qlora", "in place of adapter.method"},
        {"sequence_len", "N", "2048", "in place of data.sequence_len"},
        {"r", "N", "16", "in place of adapter.r"},
        {"rows_per_step", "N", "16", "of a search, of all cards together"},
        {"desktop", "GIB", "0.5", "of each card of the rig that is left to others"},
        {"ranks", "N", "", "of so many ranks; without it, of one replica, or of mpirun's"},
        {"memory", "GIB", "",
         "what a rank's device has, in GiB; without it memory.limit, or what is free of a "
         "CPU's.\nWhether it fits is told; the exit code is 0 all the same"},
        {"color", "auto|always|never", "auto",
         "of the bars that a terminal shows; without colours they are letters"},
        {"html", "FILE", "", "writes all this as a page, with the schedule drawn in time"},
        {"json", "", "", "prints it as JSON"},
        kSet}},
      {"init",
       "print a config to begin with, fit to a model, its data and the machine (> run.yaml keeps "
       "it)",
       "fttrain init --model=models/m --method=qlora --data=train.jsonl",
       {kModel,
        {"data", "FILE", "", "what to learn from: .jsonl or .json; its format is found"},
        {"method", "lora|qlora|full", "lora", "what is trained: an adapter, or all weights"},
        {"rig", "CARDS", "",
         "the machine to lay the run out for, as 2x4090, 1x24GB or 8x4090/2nodes; without it\n"
         "this one"},
        {"sequence_len", "N", "", "longest row in tokens; without it, by the first rows"},
        {"output_dir", "FOLDER", "", "the run's; without it runs/MODEL-METHOD"}}},
      {"check",
       "try the whole run on a few rows: read, plan, train, save, go on, export, and read again",
       "mpirun -np 2 fttrain check run.yaml -n 32",
       {kRun,
        kSet,
        {"n", "N", "32", "rows of each file that it takes, 10 to 100"},
        {"accept", "WORDS", "",
         "what is meant so though it looks wrong, separated by commas: template (it differs from\n"
         "the model's own), ends (no answer has one), tokenizer (it cannot be the model's)"},
        {"json", "", "", "prints the report as JSON, and progress on stderr"}}},
      {"data",
       "show what a run would learn: examples, statistics and what is strange about them",
       "fttrain data run.yaml -n 3 --html=data.html",
       {kRun,
        {"model", "FOLDER", "",
         "in place of the config's model.path. With --input no config is needed;\n"
         "of the folder the tokenizer and its template are read, and config.json if there"},
        {"input", "FILE", "", "in place of the config's data.train"},
        {"n", "N", "3", "examples to show, of each file the first ones"},
        {"example", "N", "", "the one with this number instead, from 1"},
        {"find", "TEXT", "", "those whose text has TEXT instead, at most -n"},
        {"ids", "", "", "a token a line, with its id"},
        {"color", "auto|always|never", "auto",
         "what is learnt in green; without colours it stands in [[ ]]"},
        {"html", "FILE", "", "writes all this as a page"},
        {"json", "", "", "prints the statistics as JSON, and no examples"},
        {"ranks", "N", "", "counts a step's rows for so many ranks; without it, for one replica"},
        kSet}},
      {"eval",
       "the loss of held-out rows: of the base, and of adapters or of what the run has left",
       "mpirun -np 2 fttrain eval run.yaml --adapter=runs/a/adapter --adapter=runs/b/adapter",
       {kRun,
        kModelOfConfig,
        {"adapter", "FOLDER", "",
         "a PEFT adapter, as often as you like; without it, what the config's run has left"},
        {"input", "FILE", "",
         "rows to evaluate in place of those that the config holds out; with --model it needs "
         "none"},
        {"json", "", "",
         "prints [{\"name\": ..., \"loss\": ..., \"perplexity\": ..., \"target_tokens\": ...}]"},
        kSet}},
      {"doctor",
       "find what is broken before a run does: libraries, devices, ways between ranks, disk",
       "mpirun -np 2 fttrain doctor",
       {{"output", "FOLDER", ".",
         "the disk to try: where a run would write. Nothing is left there"},
        {"device", "auto|cuda|cpu", "auto", "what ranks compute on"},
        {"timeout", "SECONDS", "10", "for which nothing may stand still between ranks"},
        {"json", "", "", "prints the findings, and all that was measured, as JSON"}},
       "\nexit code: 0 without errors, 81 if ranks hang; else of the first error: 64 libraries or "
       "device,\n73 no place to write, 74 ways between ranks that are slow or calls that fail, 76 "
       "ranks differ,\n80 bytes or sums arrive wrong, 82 ranks cannot be connected\n"},
      {"generate",
       "answer a prompt, or a file of them",
       "fttrain generate --model=models/m --adapter=runs/a/adapter --prompt=Hello",
       {kRunOfAnswers,
        kModel,
        kAdapterOfRun,
        {"prompt", "TEXT", "", "what to answer"},
        {"prompts", "FILE.jsonl", "",
         "or many: rows of {\"prompt\": \"...\"} or {\"messages\": [...]}"},
        {"output", "FILE.jsonl", "",
         "their answers, in order: {\"text\": ..., \"token_ids\": ..., \"prompt_tokens\": ...,\n"
         "\"finish_reason\": \"stop\" or \"length\"}"},
        {"batch_size", "N", "8", "prompts that each replica answers at a time"},
        kSystem,
        {"raw", "", "", "the prompt as it is, without the model's chat template"},
        kMaxNewTokens,
        kTemperature,
        kTopK,
        kTopP,
        kPenalty,
        kSeed,
        kSet}},
      {"chat",
       "talk with a model in the terminal",
       "fttrain chat --model=models/m --adapter=runs/a/adapter --temperature=0.7",
       {kRunOfAnswers,
        kModel,
        kAdapterOfRun,
        kSystem,
        {"max_new_tokens", "N", "512", "most tokens of an answer"},
        kTemperature,
        kTopK,
        kTopP,
        kPenalty,
        kSeed,
        kSet}},
      {"logits",
       "write the logits of token rows",
       "fttrain logits --model=models/m --input=rows.jsonl --output=logits.safetensors",
       {kModelOfRun,
        kModel,
        kAdapter,
        {"input", "FILE.jsonl", "", "rows of {\"input_ids\": [...], \"labels\": [...]}"},
        {"output", "FILE.safetensors", "", "row_0, row_1, ...: [tokens, vocabulary] in float32"},
        kSet}},
      {"quantize",
       "write a model with its matrices in NF4 once, for qlora and transformers",
       "fttrain quantize --model=models/m --output=models/m-nf4",
       {kModel, kNewFolder, kBlockSize, kDoubleQuant, kLmHead, kExperts}},
      {"merge",
       "write a model with an adapter merged into it",
       "fttrain merge --model=models/m --adapter=runs/a/adapter --output=models/merged",
       {kModel,
        kAdapter,
        kNewFolder,
        {"base", "original|dequantized", "",
         "`original` adds the adapter to the weights of --model as they are (the default).\n"
         "`dequantized` adds it to what NF4 makes of them (--block_size, --double_quant,\n"
         "--lm_head, --experts as in the run): the very model that a qlora run trained, whose\n"
         "errors of quantisation the adapter has learnt to live with. A --model that is\n"
         "quantised has no other"},
        {"quantize", "", "",
         "write the result as NF4 again: refused where its steps are coarser than the update,\n"
         "as for most qlora adapters (--base=dequantized). 16 bits, or the adapter, keep it"},
        {"least_share", "SHARE", "0.684",
         "of the adapter's update that must be left in the result's bits, in all, or nothing is\n"
         "written. A share s keeps 1 - (1 - s)^2 of what training gained: 0.684 nine tenths"},
        kBlockSize,
        kDoubleQuant,
        kLmHead,
        kExperts}},
      {"help", "print this text, or a command's own", "fttrain help train", {}},
  };
  return commands;
}

const Command* FindCommand(const std::string& name) {
  for (const Command& command : Commands()) {
    if (name == command.name) return &command;
  }
  return nullptr;
}

std::string Usage(const std::string& topic) {
  if (!topic.empty() && topic != "help") return UsageOf(*FindCommand(topic));
  std::string text =
      "usage: [mpirun -np N] fttrain [COMMAND] [FILE.yaml] [section.key=value ...] "
      "[--flag=value ...]\n";
  for (const Command& command : Commands()) {
    absl::StrAppend(&text, "  ", command.name,
                    std::string(10 - std::string(command.name).size(), ' '), command.purpose, "\n");
  }
  absl::StrAppend(
      &text,
      "Without a command, `train`; without a file, fttrain.yaml of this folder.\n"
      "`fttrain help COMMAND` lists its flags, `fttrain --version` says what was built.\n"
      "A run to try, in the folder of its sources: mpirun -np 2 fttrain train "
      "configs/quickstart.yaml");
  return text;
}

}  // namespace fttrain
