// The plan for programs.
#include <nlohmann/json.hpp>

#include "launch/plan/layout_keys.h"
#include "launch/report/plan_report.h"

namespace fttrain {
namespace {

using Json = nlohmann::ordered_json;

void AddTime(const StepTime& time, Json& json) {
  json["seconds_per_step"] = time.seconds;
  json["tokens_per_second"] = time.TokensPerSecond();
  for (const TimeShare& each : SharesOf(time)) json["shares"][each.name] = each.share;
  json["mfu"] = time.mfu;
  json["bound"] = time.bound;
}

Json JsonOf(const FoundLayout& found, const PlanReport& report) {
  const Candidate& candidate = found.candidate;
  const Fit fit = FitOf(found, report);
  Json json = {{"layout", LayoutName(candidate.layout)},
               {"fits", found.fits},
               {"needed", fit.needed},
               {"left", fit.left},
               {"host", fit.host}};
  for (const auto& [key, value] : KeysOf(report.task, candidate.layout, candidate.moments)) {
    json["keys"][key] = value;
  }
  json["levers"] = LeversOf(candidate.layout, candidate.moments);
  AddTime(candidate.time, json);
  return json;
}

}  // namespace

std::string PlanJson(const PlanReport& report) {
  Json json = {{"model", report.model}, {"ranks", Json::array()}};
  for (size_t i = 0; i < report.ranks.size(); ++i) {
    const MemoryNeed& need = report.ranks[i];
    Json rank = ToJson(need.memory);
    rank["untracked"] = need.untracked_bytes;
    if (!report.room.empty()) {
      rank["room"] = report.room[i];
      rank["fits"] = need.bytes <= report.room[i];
    }
    json["ranks"].push_back(std::move(rank));
  }
  json["sequence_len"] = report.task.rows.sequence_len;
  json["rows_per_step"] = report.task.rows_per_step;
  if (!report.room.empty() && !report.rig) json["memory"] = report.room.front();
  if (report.rig) {
    json["rig"] = report.rig->name;
    const int64_t room = HostRoomOf(*report.rig);
    for (const int64_t needed : NeedOfHosts(report)) {
      json["hosts"].push_back({{"needed", needed}, {"room", room}, {"fits", needed <= room}});
    }
  }
  if (report.time) AddTime(*report.time, json);
  if (!report.notes.empty()) json["notes"] = report.notes;
  if (!report.found) return json.dump(2);
  json["shape_from_table"] = report.from_table;
  json["layouts"] = Json::array();
  for (const FoundLayout& each : report.found->fits) {
    json["layouts"].push_back(JsonOf(each, report));
  }
  json["too_big"] = Json::array();
  for (const FoundLayout& each : report.found->too_big) {
    json["too_big"].push_back(JsonOf(each, report));
  }
  json["reason"] = report.reason;
  json["longest_sequence_len"] = report.longest.tokens;
  json["too_long_sequence_len"] = report.longest.too_long;
  if (!report.help.empty()) json["help"] = report.help;
  return json.dump(2);
}

}  // namespace fttrain
