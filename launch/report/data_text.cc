// The report on a terminal, or in a pipe.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "launch/report/data_report.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

constexpr size_t kNameWidth = 11;
constexpr int kBarWidth = 40;

// What a token looks like: SGR codes of a terminal, "" for plain. A line is coloured by itself, so
// that pagers that look at lines show it too.
const char* ColorOf(const ShownToken& token) {
  if (token.learnt) return token.special ? "1;32" : "32";
  return token.special ? "36" : "";
}

std::string Colored(const std::string& text, const std::string& color) {
  if (color.empty()) return text;
  const std::string begin = absl::StrCat("\x1b[", color, "m"), end = "\x1b[0m";
  return absl::StrCat(begin, absl::StrReplaceAll(text, {{"\n", absl::StrCat(end, "\n", begin)}}),
                      end);
}

// Neighbours that look alike are coloured, or marked, together.
std::string Running(const ShownExample& example, const TextForm& form) {
  std::string out;
  for (size_t i = 0; i < example.shown.size();) {
    const ShownToken& first = example.shown[i];
    const bool color = form.learnt == LearntAs::kColor;
    std::string text;
    for (; i < example.shown.size(); ++i) {
      const ShownToken& token = example.shown[i];
      if (token.learnt != first.learnt || (color && token.special != first.special)) break;
      text += token.text;
    }
    if (color) {
      out += Colored(text, ColorOf(first));
    } else {
      out += first.learnt ? absl::StrCat("[[", text, "]]") : text;
    }
  }
  return out;
}

// "   17  151644 * <|im_start|>", a token a line; a star where it is learnt.
std::string Listed(const ShownExample& example, const TextForm& form) {
  std::vector<std::string> lines;
  size_t position = 0;
  for (const ShownToken& token : example.shown) {
    const std::string text = absl::StrReplaceAll(token.text, {{"\n", ""}});
    const std::string shown =
        form.learnt == LearntAs::kColor ? Colored(text, ColorOf(token)) : text;
    for (size_t i = 0; i < token.ids.size(); ++i, ++position) {
      lines.push_back(absl::StrFormat("%6d %7d %c %s", position, token.ids[i],
                                      token.learnt ? '*' : ' ', i == 0 ? shown : "..."));
    }
  }
  return absl::StrJoin(lines, "\n");
}

std::string Histogram(const std::vector<LengthBin>& bins) {
  int64_t most = 1;
  for (const LengthBin& bin : bins) most = std::max(most, bin.examples);
  std::vector<std::string> lines;
  for (const LengthBin& bin : bins) {
    const auto length = static_cast<size_t>((bin.examples * kBarWidth + most - 1) / most);
    lines.push_back(absl::StrFormat("%11s-%-7s %8s %s", WithCommas(bin.from), WithCommas(bin.to),
                                    WithCommas(bin.examples), std::string(length, '#')));
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace

std::string DataText(const DataReport& report, const TextForm& form) {
  std::vector<std::string> parts;
  const auto all = report.statistics.summary.examples + report.statistics.summary.dropped;
  for (const ShownExample& example : report.examples) {
    std::string text = form.ids ? Listed(example, form) : Running(example, form);
    if (absl::EndsWith(text, "\n")) text.pop_back();
    const std::string cut = CutHere(example);
    parts.push_back(absl::StrCat("== example ", WithCommas(example.number), " of ", WithCommas(all),
                                 ": ", Headline(example), "\n", text, cut.empty() ? "" : "\n-- ",
                                 cut, "\n"));
  }
  parts.push_back(absl::StrCat("== what is trained on: ", report.model_path));
  for (const DataFact& fact : FactsOf(report)) {
    const std::string head = absl::StrFormat("%-*s", kNameWidth, fact.name);
    const std::string indent(kNameWidth + 2, ' ');
    parts.push_back(
        absl::StrCat(head, absl::StrReplaceAll(fact.text, {{"\n", absl::StrCat("\n", indent)}})));
  }
  parts.push_back(Histogram(report.statistics.lengths));
  if (report.warnings.empty()) return absl::StrJoin(parts, "\n");
  parts.push_back("\n== worth a look");
  for (const DataWarning& warning : report.warnings) {
    parts.push_back(absl::StrCat("- ", absl::StrReplaceAll(warning.text, {{"\n", "\n  "}})));
  }
  return absl::StrJoin(parts, "\n");
}

}  // namespace fttrain
