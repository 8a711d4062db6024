#include "launch/doctor/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/run/numbers.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

int64_t CountOf(absl::Span<const Finding> findings, Severity severity) {
  return std::count_if(findings.begin(), findings.end(),
                       [&](const Finding& finding) { return finding.severity == severity; });
}

}  // namespace

std::string FindingsText(absl::Span<const Finding> findings) {
  constexpr size_t kMostBytes = 1000;  // of a line: names of processes come from outside
  std::vector<std::string> areas;
  for (const Finding& finding : findings) {
    if (std::find(areas.begin(), areas.end(), finding.area) == areas.end()) {
      areas.push_back(finding.area);
    }
  }
  std::string text;
  for (const std::string& area : areas) {
    absl::StrAppend(&text, area, "\n");
    for (const Finding& finding : findings) {
      if (finding.area != area) continue;
      absl::StrAppendFormat(&text, "  %-8s %s\n", SeverityName(finding.severity),
                            Printable(finding.seen, kMostBytes));
      if (!finding.fix.empty()) absl::StrAppend(&text, "           fix: ", finding.fix, "\n");
    }
  }
  absl::StrAppend(&text, Counted(CountOf(findings, Severity::kError), "error"), ", ",
                  Counted(CountOf(findings, Severity::kWarning), "warning"), "\n");
  return text;
}

std::string FindingsJson(absl::Span<const Finding> findings, const Facts& facts) {
  nlohmann::ordered_json json = {{"findings", nlohmann::ordered_json::array()}};
  for (const Finding& finding : findings) {
    json["findings"].push_back({{"severity", SeverityName(finding.severity)},
                                {"area", finding.area},
                                {"seen", finding.seen},
                                {"fix", finding.fix}});
  }
  json["measured"] = ToJson(facts);
  json["ok"] = !HasErrors(findings);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string ErrorsLine(absl::Span<const Finding> findings) {
  std::string line;
  for (const Finding& finding : findings) {
    if (finding.severity != Severity::kError) continue;
    absl::StrAppend(&line, line.empty() ? "" : "; ", finding.area, ": ", finding.seen);
  }
  return line;
}

}  // namespace fttrain
