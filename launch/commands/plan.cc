#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "configs/validate_config.h"
#include "launch/commands/commands.h"
#include "launch/plan/paths.h"
#include "launch/run/memory_need.h"
#include "launch/run/numbers.h"
#include "launch/run/rehearsal.h"
#include "launch/run/train_plan.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr double kGib = 1 << 30;

struct Planned {
  Task task;
  Layout layout;
  c10::Device device = c10::Device(c10::kCPU);
  std::optional<int64_t> room = {};  // of a rank's device
  std::vector<MemoryNeed> ranks = {};
  std::string help = {};  // where a rank has too little
};

absl::StatusOr<config::LoadedConfig> ConfigOf(const CommandLine& line) {
  CommandLine with = line;
  if (line.Has("model")) {
    with.flags["set"].push_back(
        absl::StrCat("model.path=", nlohmann::json(line.Get("model")).dump()));
  }
  return ReadRunConfig(with);
}

absl::StatusOr<int> RanksOf(const CommandLine& line, const config::RunConfig& run,
                            const Process& process) {
  const int replica = run.parallel().tensor() * run.parallel().pipeline();
  if (!line.Has("ranks")) return process.world_size() > 1 ? process.world_size() : replica;
  FT_ASSIGN_OR_RETURN(
      const int64_t ranks,
      line.Number<int64_t>(
          "ranks", [](int64_t n) { return n >= 1 && n <= 4096; }, "a number of ranks, 1 to 4096"));
  return static_cast<int>(ranks);
}

// A GPU unless the config wants none: that is what a plan is made for.
c10::Device DeviceOf(const Layout& layout) {
  return layout.device == DeviceKind::kCpu ? c10::Device(c10::kCPU) : c10::Device(c10::kCUDA, 0);
}

absl::StatusOr<std::optional<int64_t>> RoomOf(const CommandLine& line, int64_t limit,
                                              c10::Device device, int ranks) {
  if (line.Has("memory")) {
    FT_ASSIGN_OR_RETURN(const double gib,
                        line.Number<double>(
                            "memory", [](double n) { return n > 0 && n < 1e6; }, "GiB, above 0"));
    return static_cast<int64_t>(gib * kGib);
  }
  if (limit > 0) return limit;
  if (device.is_cpu()) return FreeMemoryBytes(device) / ranks;
  return std::nullopt;
}

// What would make the rank that needs most fit; empty where it does, or nobody knows.
std::string Help(const Planned& planned) {
  const auto most =
      std::max_element(planned.ranks.begin(), planned.ranks.end(),
                       [](const MemoryNeed& a, const MemoryNeed& b) { return a.bytes < b.bytes; });
  if (!planned.room || most->bytes <= *planned.room) return "";
  const int rank = most->memory.rank, ranks = static_cast<int>(planned.ranks.size());
  return absl::StrCat(
      "rank ", rank, ": ",
      Levers(planned.task, planned.layout, planned.device, *planned.room, most->bytes,
             [&](const Task& task, const Layout& layout) -> absl::StatusOr<int64_t> {
               FT_ASSIGN_OR_RETURN(const RankMemory memory,
                                   RehearseFullRows(task, layout, planned.device, rank));
               return NeedOf(memory, planned.device, ranks).bytes;
             }));
}

absl::StatusOr<Planned> MakePlan(const CommandLine& line, const Process& process) {
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded, ConfigOf(line));
  FT_ASSIGN_OR_RETURN(const int ranks, RanksOf(line, loaded.config, process));
  FT_RETURN_IF_ERROR(config::Validate(loaded, ranks));
  FT_RETURN_IF_ERROR(ResolveModelPath(loaded.config));
  FT_ASSIGN_OR_RETURN(const ModelSpec model, ReadModel(loaded.config.model().path()));
  FT_ASSIGN_OR_RETURN(CheckedRun run, CheckRun(loaded, model, ranks));
  Planned planned{std::move(run.task), std::move(run.layout)};
  planned.device = DeviceOf(planned.layout);
  FT_ASSIGN_OR_RETURN(planned.room, RoomOf(line, OutputOf(loaded.config).memory_limit_bytes,
                                           planned.device, ranks));
  for (int rank = 0; rank < ranks; ++rank) {
    FT_ASSIGN_OR_RETURN(const RankMemory memory,
                        RehearseFullRows(planned.task, planned.layout, planned.device, rank));
    planned.ranks.push_back(NeedOf(memory, planned.device, ranks));
  }
  planned.help = Help(planned);
  return planned;
}

std::string Gib(int64_t bytes) {
  return absl::StrFormat("%.2f", static_cast<double>(bytes) / kGib);
}

std::string Fits(const MemoryNeed& need, const std::optional<int64_t>& room) {
  if (!room) return "";
  const int64_t left = *room - need.bytes;
  if (left >= 0) return absl::StrCat("fits, ", Gib(left), " left");
  return absl::StrCat("does not fit, ", Gib(-left), " too much");
}

// Ranks that need the same stand in one line.
std::string RankNames(const std::vector<int>& ranks) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < ranks.size();) {
    size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    parts.push_back(i == j ? absl::StrCat(ranks[i]) : absl::StrCat(ranks[i], "-", ranks[j]));
    i = j + 1;
  }
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(parts, ","));
}

std::string Table(const Planned& planned) {
  std::vector<std::pair<MemoryNeed, std::vector<int>>> groups;
  for (const MemoryNeed& need : planned.ranks) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return group.first.memory.device == need.memory.device &&
             group.first.memory.host == need.memory.host;
    });
    if (same == groups.end()) {
      groups.push_back({need, {need.memory.rank}});
    } else {
      same->second.push_back(need.memory.rank);
    }
  }
  const auto row = [](const std::vector<std::string>& cells) {
    std::string text = absl::StrFormat("%-12s", cells[0]);
    for (size_t i = 1; i < cells.size(); ++i) absl::StrAppendFormat(&text, "%10s", cells[i]);
    return text;
  };
  std::vector<std::string> head = {"GiB"};
  for (size_t c = 0; c < static_cast<size_t>(MemoryCategory::kCount); ++c) {
    const auto category = static_cast<MemoryCategory>(c);
    head.emplace_back(category == MemoryCategory::kCommunication ? "comm"
                                                                 : MemoryCategoryName(category));
  }
  for (const char* name : {"peak", "untracked", "needed", "on host"}) head.emplace_back(name);
  std::string text = row(head) + "\n";
  for (const auto& [need, ranks] : groups) {
    std::vector<std::string> cells = {RankNames(ranks)};
    for (const int64_t bytes : need.memory.device.peak.of) cells.push_back(Gib(bytes));
    for (const int64_t bytes : {need.memory.device.peak.total, need.untracked_bytes, need.bytes,
                                need.memory.host.peak.total}) {
      cells.push_back(Gib(bytes));
    }
    absl::StrAppend(&text, row(cells), "  ", Fits(need, planned.room), "\n");
  }
  return text;
}

std::string Text(const Planned& planned) {
  const MeshShape& mesh = planned.layout.mesh;
  const Task& task = planned.task;
  return absl::StrCat(
      "plan       ", task.model_path, " on ", Counted(mesh.world_size(), "rank"), ": tensor ",
      mesh.tp, ", pipeline ", mesh.pp, ", replicas ", mesh.dp, "; rows of ",
      WithCommas(task.rows.sequence_len), " tokens, all full and of one document, ",
      Counted(planned.layout.micro_batch_rows, "row"), " a microbatch, ",
      WithCommas(task.rows_per_step), " a step\n", Table(planned),
      "each category's own peak; `peak` is that of their sum; `untracked` is ",
      UntrackedText(planned.device), "\n", planned.help.empty() ? "" : planned.help + "\n");
}

std::string JsonText(const Planned& planned) {
  nlohmann::ordered_json json = {{"ranks", nlohmann::ordered_json::array()}};
  for (const MemoryNeed& need : planned.ranks) {
    nlohmann::ordered_json rank = ToJson(need.memory);
    rank["untracked"] = need.untracked_bytes;
    if (planned.room) rank["fits"] = need.bytes <= *planned.room;
    json["ranks"].push_back(std::move(rank));
  }
  json["sequence_len"] = planned.task.rows.sequence_len;
  if (planned.room) json["memory"] = *planned.room;
  return json.dump(2) + "\n";
}

}  // namespace

absl::Status PlanCommand(const CommandLine& line, const Process& process) {
  if (process.rank() > 0) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const Planned planned, MakePlan(line, process));
  const std::string text = line.Has("json") ? JsonText(planned) : Text(planned);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return absl::OkStatus();
}

}  // namespace fttrain
