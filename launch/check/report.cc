#include "launch/check/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

using Json = nlohmann::ordered_json;

// "45 s", "12 min", "3.4 h", "2.1 days".
std::string DurationText(double seconds) {
  if (seconds < 120) return absl::StrFormat("%.0f s", seconds);
  if (seconds < 2 * 3600) return absl::StrFormat("%.0f min", seconds / 60);
  if (seconds < 48 * 3600) return absl::StrFormat("%.1f h", seconds / 3600);
  return absl::StrFormat("%.1f days", seconds / 86400);
}

// The rank that needs most, and whether all are as planned.
std::string PeakText(const CheckReport& report) {
  const auto most = std::max_element(
      report.peaks.begin(), report.peaks.end(),
      [](const PeakSeen& a, const PeakSeen& b) { return a.measured < b.measured; });
  const bool foretold = most->planned >= 0;
  const bool equal = std::all_of(report.peaks.begin(), report.peaks.end(),
                                 [](const PeakSeen& peak) { return peak.equal; });
  std::string text =
      absl::StrCat("peak ", WithCommas(most->measured), " bytes on rank ", most->rank, ", ");
  if (!foretold) return text + "which could not be foretold";
  if (equal) {
    absl::StrAppend(&text, "as planned", report.peaks.size() > 1 ? ", and so on every rank" : "");
  } else {
    absl::StrAppend(&text, "planned ", WithCommas(most->planned));
  }
  if (report.memory_bytes > 0) absl::StrAppend(&text, "; ", InWords(report.memory_bytes), " free");
  return text;
}

// Of what several lines say the first ones are indented like the name before them.
std::string Indented(const std::string& text) {
  return absl::StrJoin(absl::StrSplit(text, '\n'), "\n           ");
}

}  // namespace

bool CheckReport::Passed() const {
  return std::all_of(stages.begin(), stages.end(), [](const StageSeen& each) { return each.ok; });
}

std::string CheckText(const CheckReport& report) {
  std::string text = absl::StrFormat("%-11s%9s  ok\n", "stage", "seconds");
  double seconds = 0;
  for (const StageSeen& stage : report.stages) {
    absl::StrAppendFormat(&text, "%-11s%9.2f  %s\n", stage.name, stage.seconds,
                          stage.ok ? absl::StrCat("yes   ", stage.text) : "NO");
    seconds += stage.seconds;
  }
  absl::StrAppendFormat(&text, "%-11s%9.2f  %s", "in all", seconds, report.Passed() ? "yes" : "NO");
  if (!report.peaks.empty()) absl::StrAppend(&text, "\nmemory     ", PeakText(report));
  if (report.tokens_per_second > 0) {
    absl::StrAppendFormat(&text, "\nspeed      %.0f tokens a second", report.tokens_per_second);
    if (report.run_tokens > 0) {
      absl::StrAppend(&text, "; the whole run, ", Counted(report.steps, "step"),
                      " or so, takes about ", DurationText(report.RunSeconds()));
    }
  }
  for (const std::string& warning : report.warnings) {
    absl::StrAppend(&text, "\nwarning    ", Indented(warning));
  }
  return text;
}

std::string CheckJson(const CheckReport& report) {
  Json stages = Json::array(), ranks = Json::array();
  for (const StageSeen& stage : report.stages) {
    stages.push_back({{"stage", stage.name},
                      {"seconds", stage.seconds},
                      {"ok", stage.ok},
                      {"text", stage.text}});
  }
  for (const PeakSeen& peak : report.peaks) {
    Json rank = {{"rank", peak.rank}, {"measured", peak.measured}, {"equal", peak.equal}};
    if (peak.planned >= 0) rank["planned"] = peak.planned;
    ranks.push_back(std::move(rank));
  }
  const Json json = {
      {"passed", report.Passed()},
      {"stages", std::move(stages)},
      {"memory", {{"limit", report.memory_bytes}, {"ranks", std::move(ranks)}}},
      {"tokens_per_second", report.tokens_per_second},
      {"run",
       {{"steps", report.steps}, {"tokens", report.run_tokens}, {"seconds", report.RunSeconds()}}},
      {"warnings", report.warnings}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace fttrain
