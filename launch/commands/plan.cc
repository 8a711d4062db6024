#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "configs/validate_config.h"
#include "launch/commands/color.h"
#include "launch/commands/commands.h"
#include "launch/report/plan_report.h"
#include "launch/run/network.h"
#include "launch/run/numbers.h"
#include "launch/run/planned_model.h"
#include "launch/run/rehearsal.h"
#include "launch/run/rig_search.h"
#include "launch/run/samples.h"
#include "launch/run/train_plan.h"
#include "launch/saving/saver.h"
#include "launch/terminal.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr double kGib = 1 << 30;

std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

// Whether the flags stand in for a config.
bool IsWithoutConfig(const CommandLine& line) {
  return !line.Has("config") && line.Has("model") &&
         (line.Has("rig") || !std::filesystem::exists("fttrain.yaml"));
}

bool IsSearch(const CommandLine& line) {
  return line.Has("search") || (line.Has("rig") && IsWithoutConfig(line));
}

absl::Status CheckFlags(const CommandLine& line) {
  for (const char* flag : {"search", "desktop"}) {
    if (line.Has(flag) && !line.Has("rig")) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, " needs a rig: --rig=2x4090, for example"));
    }
  }
  if (line.Has("rig") && line.Has("memory")) {
    return absl::InvalidArgumentError(
        "--rig has cards with their memory and --memory says how much there is: give one");
  }
  if (line.Has("rows_per_step") && !IsSearch(line)) {
    return absl::InvalidArgumentError(
        "--rows_per_step is of a search (--search); a config counts a step's rows in "
        "train.micro_batch_size and train.gradient_accumulation_steps");
  }
  return absl::OkStatus();
}

// Flags that are keys of the config, as overrides of it.
absl::StatusOr<std::vector<std::string>> KeysOfFlags(const CommandLine& line) {
  std::vector<std::string> keys;
  const auto add = [&](const char* key, const std::string& value) {
    keys.push_back(absl::StrCat(key, "=", value));
  };
  if (line.Has("model")) add("model.path", Quoted(line.Get("model")));
  const bool is_new = IsWithoutConfig(line);
  const std::string method = line.Get("method");
  if (method != "qlora" && method != "lora" && method != "full") {
    return absl::InvalidArgumentError(
        absl::StrCat("--method=", Printable(method), ": must be qlora, lora or full"));
  }
  if (line.Has("method") || is_new) add("adapter.method", method == "full" ? "none" : method);
  if (line.Has("r")) {
    if (line.Has("method") && method == "full") {
      return absl::InvalidArgumentError("--r is an adapter's rank, and --method=full has none");
    }
    add("adapter.r", line.Get("r"));
  }
  if (line.Has("sequence_len")) add("data.sequence_len", line.Get("sequence_len"));
  return keys;
}

absl::StatusOr<int64_t> RowsPerStep(const CommandLine& line) {
  return line.Number<int64_t>(
      "rows_per_step", [](int64_t n) { return n >= 1 && n <= 1 << 20; },
      "a number of rows, at least 1");
}

absl::StatusOr<config::LoadedConfig> ConfigOf(const CommandLine& line) {
  FT_ASSIGN_OR_RETURN(std::vector<std::string> keys, KeysOfFlags(line));
  CommandLine with = line;
  std::vector<std::string>& set = with.flags["set"];
  set.insert(set.begin(), keys.begin(), keys.end());
  if (!IsWithoutConfig(line)) return ReadRunConfig(with);
  return config::ParseRunConfig(
      "{data: {train: [{path: train.jsonl}]}, train: {max_steps: 100}, output_dir: runs/planned}",
      "command line", set);
}

absl::StatusOr<int> RanksOf(const CommandLine& line, const config::RunConfig& run,
                            const std::optional<Rig>& rig, const Process& process) {
  const int replica = run.parallel().tensor() * run.parallel().pipeline() * run.parallel().expert();
  const int cards = rig ? static_cast<int>(rig->cards.size()) : 0;
  // A search counts a step's rows as the config does, on the rig if its layout is one of it.
  if (IsSearch(line) && !line.Has("ranks")) return cards % replica == 0 ? cards : replica;
  if (!line.Has("ranks")) {
    return rig ? cards : process.world_size() > 1 ? process.world_size() : replica;
  }
  FT_ASSIGN_OR_RETURN(
      const int64_t ranks,
      line.Number<int64_t>(
          "ranks", [](int64_t n) { return n >= 1 && n <= 4096; }, "a number of ranks, 1 to 4096"));
  if (rig && ranks != cards) {
    return absl::InvalidArgumentError(absl::StrCat("--ranks=", ranks, " and --rig has ",
                                                   Counted(cards, "card"),
                                                   ": leave out "
                                                   "--ranks"));
  }
  return static_cast<int>(ranks);
}

// A GPU unless the config wants none: that is what a plan is made for.
c10::Device DeviceOf(const Layout& layout) {
  return layout.device == DeviceKind::kCpu ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, 0);
}

// Of each rank; empty where it is not known.
absl::StatusOr<std::vector<int64_t>> RoomOf(const CommandLine& line, int64_t limit,
                                            const PlanReport& report, int ranks) {
  const auto of_each = [&](int64_t bytes) {
    return std::vector<int64_t>(static_cast<size_t>(ranks), bytes);
  };
  if (report.rig) {
    std::vector<int64_t> room;
    for (const Card& card : report.rig->cards) {
      room.push_back(card.memory_bytes - report.desktop_bytes);
      if (limit > 0) room.back() = std::min(room.back(), limit);
    }
    return room;
  }
  if (line.Has("memory")) {
    FT_ASSIGN_OR_RETURN(const double gib,
                        line.Number<double>(
                            "memory", [](double n) { return n > 0 && n < 1e6; }, "GiB, above 0"));
    return of_each(static_cast<int64_t>(gib * kGib));
  }
  if (limit > 0) return of_each(limit);
  if (report.device.is_cpu()) return of_each(FreeMemoryBytes(report.device) / ranks);
  return std::vector<int64_t>();
}

// What would make the rank that lacks most fit; empty where none lacks anything, or nobody knows.
std::string Help(const PlanReport& report, const JobInputs& beside) {
  if (report.room.empty()) return "";
  size_t most = 0;
  const auto lacks = [&](size_t rank) { return report.ranks[rank].bytes - report.room[rank]; };
  for (size_t rank = 1; rank < report.ranks.size(); ++rank) {
    if (lacks(rank) > lacks(most)) most = rank;
  }
  if (lacks(most) <= 0) return "";
  const int rank = static_cast<int>(most);
  return absl::StrCat(
      "rank ", rank, ": ",
      Levers(report.task, report.layout, report.device, report.room[most], report.ranks[most].bytes,
             [&](const Task& task, const Layout& layout) -> absl::StatusOr<int64_t> {
               FT_ASSIGN_OR_RETURN(const RankMemory memory,
                                   RehearseFullRows(task, layout, report.device, rank, beside));
               return NeedOf(memory, report.device, layout.mesh).bytes;
             }));
}

absl::Status Rehearse(const JobInputs& beside, PlanReport& report) {
  FT_ASSIGN_OR_RETURN(const std::vector<RankMemory> all,
                      RehearseAllRanks(report.task, report.layout, report.device, beside));
  for (const RankMemory& memory : all) {
    report.ranks.push_back(NeedOf(memory, report.device, report.layout.mesh));
  }
  return absl::OkStatus();
}

// The report becomes that of the best layout.
absl::Status Search(const config::LoadedConfig& loaded, const CommandLine& line,
                    const JobInputs& beside, PlanReport& report) {
  const bool counted = loaded.where.count("train.gradient_accumulation_steps") > 0;
  if (line.Has("rows_per_step") || (IsWithoutConfig(line) && !counted)) {
    FT_ASSIGN_OR_RETURN(report.task.rows_per_step, RowsPerStep(line));
  }
  SearchSpace space{report.task, report.layout, *report.rig, {}, report.room};
  for (const std::string& key : SearchedKeys()) {
    if (loaded.where.count(key) > 0) space.kept.insert(key);
  }
  // The routers' loss is one of each microbatch.
  if (report.task.router_loss > 0) space.kept.insert("train.micro_batch_size");
  report.kept.assign(space.kept.begin(), space.kept.end());
  FT_ASSIGN_OR_RETURN(RigSearch search, SearchRig(space, beside));
  report.found = std::move(search.found);
  report.reason = std::move(search.reason);
  report.longest = search.longest;
  report.help = std::move(search.help);
  if (search.fewer) {
    report.room = search.fewer->room;
    report.rig = search.fewer->rig;
  }
  report.layout = search.chosen.candidate.layout;
  report.task.moments = search.chosen.candidate.moments;
  report.time = TimeOf(report.task, report.layout, *report.rig);
  return absl::OkStatus();
}

// What such a run does beside its steps. A plan needs no files: without those of its samples it
// says so.
JobInputs BesideSteps(const Output& output, PlanReport& report) {
  JobInputs beside;
  if (output.saves()) beside.saving = RehearseSave;
  auto samples = ReadSamples(output.sample_prompts, output.sample_max_new_tokens, report.task);
  if (samples.ok()) {
    beside.samples = *std::move(samples);
  } else {
    report.notes.push_back(
        absl::StrCat("what answers to train.sample_prompts keep is not counted: ",
                     std::string(samples.status().message())));
  }
  return beside;
}

absl::Status SetRig(const CommandLine& line, PlanReport& report) {
  FT_ASSIGN_OR_RETURN(report.rig, ParseRig(line.Get("rig")));
  FT_ASSIGN_OR_RETURN(const double gib, line.Number<double>(
                                            "desktop", [](double n) { return n >= 0 && n < 1024; },
                                            "GiB, at least 0"));
  report.desktop_bytes = static_cast<int64_t>(gib * kGib);
  for (const Card& card : report.rig->cards) {
    if (card.memory_bytes > report.desktop_bytes) continue;
    return absl::InvalidArgumentError(absl::StrCat("--desktop=", line.Get("desktop"), " leaves ",
                                                   "nothing of a card's ",
                                                   InGib(card.memory_bytes)));
  }
  return absl::OkStatus();
}

absl::StatusOr<PlanReport> MakeReport(const CommandLine& line, const Process& process) {
  FT_RETURN_IF_ERROR(CheckFlags(line));
  PlanReport report;
  if (line.Has("rig")) FT_RETURN_IF_ERROR(SetRig(line, report));
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded, ConfigOf(line));
  FT_ASSIGN_OR_RETURN(const int ranks, RanksOf(line, loaded.config, report.rig, process));
  FT_RETURN_IF_ERROR(config::Validate(loaded, ranks));
  FT_ASSIGN_OR_RETURN(const PlannedModel model, ModelToPlan(loaded.config.model().path()));
  loaded.config.mutable_model()->set_path(model.path);
  FT_ASSIGN_OR_RETURN(CheckedRun run, CheckRun(loaded, model.spec, ranks));
  report.model = model.path;
  report.from_table = model.from_table;
  report.task = std::move(run.task);
  report.layout = std::move(run.layout);
  report.device = DeviceOf(report.layout);
  const std::string positions = PositionsNote(model.spec, report.task.rows);
  if (!positions.empty()) report.notes.push_back(positions);
  if (report.rig && report.device.is_cpu()) {
    return absl::InvalidArgumentError("--rig is of GPUs and the config has device: cpu");
  }
  FT_ASSIGN_OR_RETURN(report.room,
                      RoomOf(line, OutputOf(loaded.config).memory_limit_bytes, report, ranks));
  const JobInputs beside = BesideSteps(OutputOf(loaded.config), report);
  if (IsSearch(line)) {
    FT_RETURN_IF_ERROR(Search(loaded, line, beside, report));
  } else if (report.rig) {
    report.time = TimeOf(report.task, report.layout, *report.rig);
  }
  FT_RETURN_IF_ERROR(Rehearse(beside, report));
  if (!report.found) report.help = Help(report, beside);
  return report;
}

}  // namespace

absl::Status PlanCommand(const CommandLine& line, const Process& process) {
  if (process.rank() > 0) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const bool colors, WantsColor(line));
  FT_ASSIGN_OR_RETURN(const PlanReport report, MakeReport(line, process));
  const std::string page = line.Get("html");
  if (!page.empty()) FT_RETURN_IF_ERROR(WriteFileAtomically(page, PlanPage(report)));
  const Bars bars = colors ? Bars::kColors : StdoutIsTerminal() ? Bars::kLetters : Bars::kNone;
  const std::string text = line.Has("json") ? PlanJson(report) : PlanText(report, bars);
  std::printf("%s\n", text.c_str());
  if (!page.empty() && !line.Has("json")) std::printf("\nsaved      %s\n", page.c_str());
  return absl::OkStatus();
}

}  // namespace fttrain
