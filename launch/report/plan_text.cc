// The plan as a text, with a bar of each rank's memory on a terminal.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/plan/layout_keys.h"
#include "launch/report/plan_report.h"
#include "launch/run/numbers.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr double kGib = 1 << 30;
constexpr int kBarColumns = 60;

std::string Gib(int64_t bytes) {
  return absl::StrFormat("%.2f", static_cast<double>(bytes) / kGib);
}

std::string Percent(double share) { return absl::StrFormat("%.0f%%", 100 * share); }

std::string Fits(int64_t needed, const int64_t* room) {
  if (room == nullptr) return "";
  const int64_t left = *room - needed;
  return left >= 0 ? absl::StrCat("fits, ", Gib(left), " left")
                   : absl::StrCat("does not fit, ", Gib(-left), " too much");
}

// Bytes by category, a line for ranks that need the same.
std::string CategoryTable(const PlanReport& report) {
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
  for (const std::vector<int>& ranks : AlikeRanks(report)) {
    const auto first = static_cast<size_t>(ranks.front());
    const MemoryNeed& need = report.ranks[first];
    std::vector<std::string> cells = {RankNames(ranks)};
    for (const int64_t bytes : need.memory.device.peak.of) cells.push_back(Gib(bytes));
    for (const int64_t bytes : {need.memory.device.peak.total, need.untracked_bytes, need.bytes,
                                need.memory.host.peak.total}) {
      cells.push_back(Gib(bytes));
    }
    absl::StrAppend(&text, row(cells), "  ",
                    Fits(need.bytes, report.room.empty() ? nullptr : &report.room[first]), "\n");
  }
  return absl::StrCat(text,
                      "each category's own peak; `peak` is that of their sum; `untracked` is ",
                      UntrackedText(report.device), "\n");
}

// The fullest host, where ranks keep anything in its memory.
std::string HostLine(const PlanReport& report) {
  if (!report.rig) return "";
  const std::vector<int64_t> needed = NeedOfHosts(report);
  const int64_t most = *std::max_element(needed.begin(), needed.end());
  if (most == 0) return "";
  const int64_t room = HostRoomOf(*report.rig);
  return absl::StrCat("host       ", Gib(most), " GiB of its memory: ", Fits(most, &room), "\n");
}

// Letters and colours of PartsOf's parts, and of what is free.
constexpr char kLetters[] = {'W', 'A', 'G', 'O', 'S', 'k', 'c', '?', 'u', '.'};
constexpr int kColors[] = {33, 37, 35, 71, 178, 173, 132, 245, 240, 236};

std::string Cell(size_t part, Bars bars) {
  if (bars == Bars::kLetters) return std::string(1, kLetters[part]);
  return absl::StrFormat("\x1b[48;5;%dm \x1b[0m", kColors[part]);
}

// A column is in the part in which its middle lies; beyond the room a bar begins behind a stroke.
std::string Bar(const MemoryNeed& need, int64_t room, Bars bars) {
  const std::vector<MemoryPart> parts = PartsOf(need);
  const auto whole = static_cast<double>(std::max(room, need.bytes));
  std::string bar;
  bool beyond = false;
  for (int column = 0; column < kBarColumns; ++column) {
    const double middle = (column + 0.5) / kBarColumns * whole;
    if (!beyond && middle > static_cast<double>(room)) {
      bar += '|';
      beyond = true;
    }
    size_t part = 0;
    double until = 0;
    while (part < parts.size() && (until += static_cast<double>(parts[part].bytes)) < middle) {
      ++part;
    }
    bar += Cell(part, bars);
  }
  return bar;
}

std::string BarLines(const PlanReport& report, Bars bars) {
  if (bars == Bars::kNone || report.room.empty()) return "";
  std::string text;
  for (size_t rank = 0; rank < report.ranks.size(); ++rank) {
    absl::StrAppendFormat(&text, "%-9s %s %s of %s GiB\n", absl::StrCat("rank ", rank),
                          Bar(report.ranks[rank], report.room[rank], bars),
                          Gib(report.ranks[rank].bytes), Gib(report.room[rank]));
  }
  std::vector<std::string> legend;
  const std::vector<MemoryPart> parts = PartsOf(report.ranks.front());
  for (size_t i = 0; i < parts.size(); ++i) {
    legend.push_back(absl::StrCat(Cell(i, bars), " ", parts[i].name));
  }
  legend.push_back(absl::StrCat(Cell(parts.size(), bars), " free"));
  return absl::StrCat(text, std::string(10, ' '), absl::StrJoin(legend, "  "), "\n");
}

std::string TimeLines(const PlanReport& report) {
  if (report.device.is_cpu()) return "";
  if (!report.time) return "time       is not told for want of a rig: --rig=2x4090\n";
  const StepTime& time = *report.time;
  std::vector<std::string> shares;
  for (const TimeShare& each : SharesOf(time)) {
    if (each.share >= 0.005) shares.push_back(absl::StrCat(each.words, " ", Percent(each.share)));
  }
  return absl::StrCat("time       ", absl::StrFormat("%.3g s a step, ", time.seconds),
                      WithCommas(std::llround(time.TokensPerSecond())),
                      " tokens a second, predicted for ", report.rig->name, "; bound by ",
                      time.bound, "\n           ", absl::StrJoin(shares, ", "), "; MFU ",
                      Percent(time.mfu), "\n");
}

std::string RankedLine(const std::string& number, const FoundLayout& found,
                       const PlanReport& report) {
  const Fit fit = FitOf(found, report);
  const Layout& layout = found.candidate.layout;
  const StepTime& time = found.candidate.time;
  std::string text =
      absl::StrFormat("%2s  %-42s %4d  %6s %7s %7s", number, LayoutName(layout),
                      layout.micro_batch_rows, Gib(fit.needed), Gib(fit.left), Gib(fit.host));
  if (found.fits) {
    absl::StrAppendFormat(&text, " %9s %7s  %-26s",
                          WithCommas(std::llround(time.TokensPerSecond())), Percent(time.bubble),
                          time.bound);
  } else {
    absl::StrAppendFormat(&text, " %-45s",
                          found.host_is_full ? " too much for the host" : " does not fit");
  }
  return absl::StrCat(text, "  ", LeverWords(found.candidate), "\n");
}

std::string SearchLines(const PlanReport& report) {
  const Found& found = *report.found;
  std::string text =
      absl::StrCat("searched   ", WithCommas(found.considered), " layouts that may fit, ",
                   WithCommas(found.rehearsed), " of them by rehearsal\n");
  if (!report.kept.empty()) {
    absl::StrAppend(&text, "kept       as written: ", absl::StrJoin(report.kept, ", "), "\n");
  }
  absl::StrAppendFormat(&text, "\n    %-42s %4s  %6s %7s %7s %9s %7s  %-26s  %s\n", "layout",
                        "rows", "GiB", "left", "host", "tokens/s", "bubble", "bound by", "levers");
  int number = 0;
  for (const FoundLayout& each : found.fits) {
    text += RankedLine(absl::StrCat(++number), each, report);
  }
  for (const FoundLayout& each : found.too_big) text += RankedLine("-", each, report);
  absl::StrAppend(
      &text,
      "rows: of a microbatch; GiB: of the fullest rank, exactly; host: of a host's memory"
      "\n\nwhy        ",
      report.reason, "\n");
  if (found.fits.empty()) return text;
  return absl::StrCat(text, "longest    rows that fit in the first layout: ", LongestWords(report),
                      "\n\n", YamlOf(KeysOf(report.task, report.layout, report.task.moments)),
                      "\n");
}

std::string NoteLines(const PlanReport& report) {
  std::string text;
  for (const std::string& note : report.notes) absl::StrAppend(&text, "note       ", note, "\n");
  return text;
}

std::string Headline(const PlanReport& report) {
  const MeshShape& mesh = report.layout.mesh;
  std::string text =
      absl::StrCat("plan       ", Printable(report.model),
                   report.from_table ? " (shape from the table; no folder was read)" : "", " on ",
                   report.rig ? report.rig->name : Counted(mesh.world_size(), "rank"));
  if (!report.found) {
    absl::StrAppend(&text, ": tensor ", mesh.tp, ", pipeline ", mesh.pp, ", replicas ", mesh.dp,
                    mesh.ep > 1 ? absl::StrCat(", experts over ", mesh.ep) : "");
  }
  absl::StrAppend(&text, "; ", report.found ? MethodName(report.task) + ", " : "", "rows of ",
                  WithCommas(report.task.rows.sequence_len),
                  " tokens, all full and of one document, ");
  if (!report.found) {
    absl::StrAppend(&text, Counted(report.layout.micro_batch_rows, "row"), " a microbatch, ");
  }
  absl::StrAppend(&text, WithCommas(report.task.rows_per_step), " a step\n");
  if (!report.rig) return text;
  const int64_t least = *std::min_element(report.room.begin(), report.room.end());
  const int64_t most = *std::max_element(report.room.begin(), report.room.end());
  return absl::StrCat(text, "room       ", Gib(least), most > least ? " to " + Gib(most) : "",
                      " GiB of a card; ", Gib(report.desktop_bytes),
                      " of each are left to a desktop (--desktop); ", Gib(HostRoomOf(*report.rig)),
                      " of a host, nine tenths (-ramGB after the cards says otherwise)\n");
}

}  // namespace

std::string PlanText(const PlanReport& report, Bars bars) {
  std::string text = absl::StrCat(Headline(report), report.found ? SearchLines(report) : "",
                                  CategoryTable(report), HostLine(report), TimeLines(report),
                                  NoteLines(report), BarLines(report, bars), report.help);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace fttrain
