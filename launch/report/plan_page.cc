// The plan as a page: facts, memory of each rank, the schedule in time, what a search found.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/plan/layout_keys.h"
#include "launch/report/html.h"
#include "launch/report/plan_report.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

// Beside that of all pages, over which it goes.
constexpr char kStyle[] = R"(<style>
body { --weights: #2f6fb4; --adapters: #4aa3df; --gradients: #3aa99f; --optimizer: #5b9b4c;
  --saved: #d9a52b; --workspace: #d9822b; --communication: #b55aa8; --other: #8a8f98;
  --untracked: #5d6470; --forward: #4b8bd8; --backward: #d9822b; --lack: #c8372d; }
body .facts th { width: 9rem; }
.numbers { font-variant-numeric: tabular-nums; font-size: .9rem; }
body .numbers td, body .numbers th { white-space: nowrap; padding-right: 1rem; width: auto; }
body .numbers td.n { text-align: right; }
.wide { overflow-x: auto; }
.rank { display: flex; align-items: center; gap: .8rem; margin: .25rem 0;
  font-variant-numeric: tabular-nums; }
.rank .name { width: 5rem; } .rank .size { width: 11rem; text-align: right; }
.room { flex: 1; display: flex; height: 1.2rem; background: var(--panel);
  border: 1px solid var(--line); position: relative; }
.room i { display: block; height: 100%; }
.room b { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--lack); }
.legend span { white-space: nowrap; }
body .lacks { color: var(--lack); }
body svg { background: var(--panel); border: 1px solid var(--line); }
body svg text { font-size: 9px; fill: var(--text); }
body svg .on { fill: #fff; text-anchor: middle; }
body pre { background: var(--panel); border: 1px solid var(--line); }
</style>
)";

std::string Gib(int64_t bytes) {
  return absl::StrFormat("%.2f", static_cast<double>(bytes) / (1 << 30));
}

std::string Percent(double share) { return absl::StrFormat("%.1f%%", 100 * share); }

std::string Fact(const std::string& name, const std::string& text) {
  return absl::StrCat("<tr><th>", HtmlEscaped(name), "</th><td>", HtmlEscaped(text),
                      "</td></tr>\n");
}

std::string Facts(const PlanReport& report) {
  const Task& task = report.task;
  std::string out = "<table class=\"facts\">\n";
  out += Fact("model",
              absl::StrCat(report.model,
                           report.from_table ? " (shape from the table; no folder was read)" : ""));
  out += Fact("method", MethodName(task));
  out += Fact("rows", absl::StrCat(WithCommas(task.rows.sequence_len), " tokens, ",
                                   report.layout.micro_batch_rows, " a microbatch, ",
                                   WithCommas(task.rows_per_step), " a step"));
  out += Fact("layout", LayoutName(report.layout));
  if (report.rig) {
    out += Fact("rig", absl::StrCat(report.rig->name, "; ", Gib(report.desktop_bytes),
                                    " GiB of each card are left to a desktop"));
  }
  if (report.time) {
    const StepTime& time = *report.time;
    out += Fact("time", absl::StrCat(absl::StrFormat("%.3g s a step, ", time.seconds),
                                     WithCommas(std::llround(time.TokensPerSecond())),
                                     " tokens a second; bound by ", time.bound));
    std::vector<std::string> shares;
    for (const TimeShare& each : SharesOf(time)) {
      shares.push_back(absl::StrCat(each.words, " ", Percent(each.share)));
    }
    out += Fact("of a step", absl::StrJoin(shares, ", "));
  }
  if (report.found) out += Fact("why", report.reason);
  if (report.longest.tokens > 0) out += Fact("longest rows", LongestWords(report));
  for (const std::string& note : report.notes) out += Fact("note", note);
  if (!report.help.empty()) out += Fact("what helps", report.help);
  return out + "</table>\n";
}

std::string MemoryBar(const MemoryNeed& need, int64_t room) {
  const auto whole = static_cast<double>(std::max(room, need.bytes));
  std::string out = "<div class=\"room\">";
  for (const MemoryPart& part : PartsOf(need)) {
    absl::StrAppendFormat(
        &out, "<i style=\"width:%.3f%%;background:var(--%s)\" title=\"%s %s GiB\"></i>",
        100 * static_cast<double>(part.bytes) / whole, part.name, part.name, Gib(part.bytes));
  }
  if (need.bytes > room) {
    absl::StrAppendFormat(&out, "<b style=\"left:%.3f%%\" title=\"all there is\"></b>",
                          100 * static_cast<double>(room) / whole);
  }
  return out + "</div>";
}

std::string Memory(const PlanReport& report) {
  if (report.ranks.empty()) return "";
  int64_t largest = 0;
  for (const MemoryNeed& need : report.ranks) largest = std::max(largest, need.bytes);
  std::string out = "<h2>Memory of each rank</h2>\n";
  for (size_t i = 0; i < report.ranks.size(); ++i) {
    const MemoryNeed& need = report.ranks[i];
    const bool known = !report.room.empty();
    const int64_t room = known ? report.room[i] : largest;
    absl::StrAppend(&out, "<div class=\"rank\"><span class=\"name\">rank ", i, "</span>",
                    MemoryBar(need, room), "<span class=\"size", need.bytes > room ? " lacks" : "",
                    "\">", Gib(need.bytes), known ? absl::StrCat(" of ", Gib(room)) : "",
                    " GiB</span></div>\n");
  }
  out += "<p class=\"key legend\">";
  for (const MemoryPart& part : PartsOf(report.ranks.front())) {
    absl::StrAppend(&out, "<span><i style=\"background:var(--", part.name, ")\"></i>", part.name,
                    "</span>");
  }
  return absl::StrCat(out, "<br>untracked: ", HtmlEscaped(UntrackedText(report.device)), "</p>\n");
}

// A row a stage; a span is as long as it takes, and names its microbatch where there is room.
std::string Schedule(const StepTime& time) {
  constexpr double kWidth = 1000, kLeft = 52, kRow = 24, kTop = 6;
  if (time.stages.empty() || time.seconds <= 0) return "";
  const double height = kTop + kRow * static_cast<double>(time.stages.size()) + 18;
  const auto x = [&](double seconds) {
    return kLeft + (kWidth - kLeft - 6) * seconds / time.seconds;
  };
  std::string out = absl::StrFormat(
      "<h2>A step in time</h2>\n<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
      "aria-label=\"the schedule of each stage\">\n",
      kWidth, height);
  for (size_t stage = 0; stage < time.stages.size(); ++stage) {
    const double top = kTop + kRow * static_cast<double>(stage);
    absl::StrAppendFormat(&out, "<text x=\"6\" y=\"%.1f\">stage %d</text>\n", top + 15, stage);
    for (const StageSpan& span : time.stages[stage]) {
      const double left = x(span.begin), width = x(span.end) - left;
      absl::StrAppendFormat(&out,
                            "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\" "
                            "fill=\"var(--%s)\" stroke=\"var(--panel)\" stroke-width=\".5\" "
                            "opacity=\"%.2f\"><title>%s of microbatch %d, chunk %d: %.3g s to "
                            "%.3g s</title></rect>\n",
                            left, top, width, kRow - 4, span.forward ? "forward" : "backward",
                            span.chunk % 2 == 0 ? 1.0 : 0.7, span.forward ? "forward" : "backward",
                            span.microbatch, span.chunk, span.begin, span.end);
      if (width < 12) continue;
      absl::StrAppendFormat(&out, "<text class=\"on\" x=\"%.2f\" y=\"%.1f\">%d</text>\n",
                            left + width / 2, top + 13, span.microbatch);
    }
  }
  for (int tick = 0; tick <= 4; ++tick) {
    const double seconds = time.seconds * tick / 4;
    absl::StrAppendFormat(&out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%.3g s</text>\n",
                          x(seconds), height - 6, tick == 4 ? "end" : "start", seconds);
  }
  return absl::StrCat(
      out,
      "</svg>\n<p class=\"key legend\"><span><i style=\"background:var(--forward)\"></i>forward"
      "</span><span><i style=\"background:var(--backward)\"></i>backward</span><span> (the number "
      "is the microbatch's; paler: chunks with odd numbers)</span></p>\n");
}

std::string RankedRow(const std::string& number, const FoundLayout& found,
                      const PlanReport& report) {
  const Fit fit = FitOf(found, report);
  const StepTime& time = found.candidate.time;
  const auto cell = [](const std::string& text, bool is_number) {
    return absl::StrCat(is_number ? "<td class=\"n\">" : "<td>", HtmlEscaped(text), "</td>");
  };
  return absl::StrCat(
      "<tr>", cell(number, true), cell(LayoutName(found.candidate.layout), false),
      cell(absl::StrCat(found.candidate.layout.micro_batch_rows), true),
      cell(Gib(fit.needed), true),
      absl::StrCat("<td class=\"n", fit.left < 0 ? " lacks" : "", "\">", Gib(fit.left), "</td>"),
      cell(Gib(fit.host), true),
      cell(found.fits ? WithCommas(std::llround(time.TokensPerSecond())) : "", true),
      cell(found.fits ? Percent(time.bubble) : "", true), cell(found.fits ? time.bound : "", false),
      cell(LeverWords(found.candidate), false), "</tr>\n");
}

std::string Ranked(const PlanReport& report) {
  std::string out =
      "<h2>Layouts</h2>\n<div class=\"wide\"><table class=\"numbers\"><tr><th></th><th>layout</th>"
      "<th>rows</th><th>GiB</th><th>left</th><th>host</th><th>tokens/s</th><th>bubble</"
      "th><th>bound by</th>"
      "<th>levers</th></tr>\n";
  int number = 0;
  for (const FoundLayout& each : report.found->fits) {
    out += RankedRow(absl::StrCat(++number), each, report);
  }
  for (const FoundLayout& each : report.found->too_big) out += RankedRow("", each, report);
  out += "</table></div>\n";
  if (report.found->fits.empty()) return out;
  return absl::StrCat(out, "<h2>Keys of the first</h2>\n<pre>",
                      HtmlEscaped(YamlOf(KeysOf(report.task, report.layout, report.task.moments))),
                      "</pre>\n");
}

}  // namespace

std::string PlanPage(const PlanReport& report) {
  return absl::StrCat(HtmlHead(absl::StrCat("The plan of ", report.model), kStyle), Facts(report),
                      Memory(report), report.time ? Schedule(*report.time) : "",
                      report.found ? Ranked(report) : "", "</body>\n</html>\n");
}

}  // namespace fttrain
