// The report as a page: one file, no scripts, nothing from elsewhere.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "launch/report/data_report.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

constexpr char kStyle[] = R"(
:root { color-scheme: light dark; --back: #fff; --text: #1c1e21; --soft: #6a7078; --line: #dfe2e6;
  --panel: #f6f7f9; --learnt: #d5f0da; --learnt-text: #0b4f1c; --special: #1f5fbf; --bar: #4b8bd8;
  --warn: #9a5b00; --warn-back: #fff5e0; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e4e6ea; --soft: #9aa1aa; --line: #34383e; --panel: #1e2125;
    --learnt: #12401f; --learnt-text: #b9f3c6; --special: #7fb2ff; --bar: #4b8bd8; --warn: #ffc46b;
    --warn-back: #33270f; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem 1rem 4rem; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; white-space: pre-line; }
th { font-weight: 600; white-space: nowrap; width: 7rem; }
.bars th, .bars td { border: 0; padding: .1rem .8rem .1rem 0; font-variant-numeric: tabular-nums;
  font-weight: 400; white-space: nowrap; text-align: right; width: 1%; }
.bars td:last-child { width: auto; padding: .1rem 0; }
.bar { background: var(--bar); height: .8rem; border-radius: 2px; margin-top: .35rem; }
ul.warnings { list-style: none; margin: 0; padding: 0; }
ul.warnings li { background: var(--warn-back); border-left: 3px solid var(--warn);
  padding: .4rem .8rem; margin: .4rem 0; overflow-wrap: anywhere; white-space: pre-line; }
.example { border: 1px solid var(--line); border-radius: 6px; margin: .8rem 0; overflow: hidden; }
.example h3 { font-size: .85rem; font-weight: 400; color: var(--soft); margin: 0;
  padding: .4rem .8rem; background: var(--panel); border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
pre { margin: 0; padding: .7rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.55 ui-monospace, monospace; }
.l { background: var(--learnt); color: var(--learnt-text); }
.s { color: var(--special); }
.l.s { color: var(--learnt-text); font-weight: 700; }
.cut { color: var(--soft); padding: 0 .8rem .6rem; font-size: .85rem; }
.key { color: var(--soft); font-size: .85rem; }
)";

std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

// A token is a span, so that its ids can be seen by pointing at it.
std::string Tokens(const ShownExample& example) {
  std::string out;
  for (const ShownToken& token : example.shown) {
    std::string classes = token.learnt ? "l" : "";
    if (token.special) absl::StrAppend(&classes, classes.empty() ? "" : " ", "s");
    absl::StrAppend(&out, "<span", classes.empty() ? "" : absl::StrCat(" class=\"", classes, "\""),
                    " title=\"", absl::StrJoin(token.ids, " "), "\">", Escaped(token.text),
                    "</span>");
  }
  return out;
}

std::string Section(const ShownExample& example) {
  std::string out =
      absl::StrCat("<div class=\"example\"><h3>example ", WithCommas(example.number), ": ",
                   Escaped(Headline(example)), "</h3>\n<pre>", Tokens(example), "</pre>\n");
  const std::string cut = CutHere(example);
  if (!cut.empty()) absl::StrAppend(&out, "<div class=\"cut\">", cut, "</div>\n");
  return absl::StrCat(out, "</div>\n");
}

std::string Bars(const std::vector<LengthBin>& bins) {
  int64_t most = 1;
  for (const LengthBin& bin : bins) most = std::max(most, bin.examples);
  std::string out = "<table class=\"bars\">\n";
  for (const LengthBin& bin : bins) {
    absl::StrAppend(&out, "<tr><th>", WithCommas(bin.from), " to ", WithCommas(bin.to), "</th><td>",
                    WithCommas(bin.examples), "</td><td><div class=\"bar\" style=\"width:",
                    absl::StrFormat("%.2f", 100.0 * static_cast<double>(bin.examples) /
                                                static_cast<double>(most)),
                    "%\"></div></td></tr>\n");
  }
  return absl::StrCat(out, "</table>\n");
}

}  // namespace

std::string DataPage(const DataReport& report) {
  const std::string title = absl::StrCat("What is trained on: ", report.model_path);
  std::string out = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
      Escaped(title), "</title>\n<style>", kStyle, "</style>\n</head>\n<body>\n<h1>",
      Escaped(title), "</h1>\n<table>\n");
  for (const DataFact& fact : FactsOf(report)) {
    absl::StrAppend(&out, "<tr><th>", Escaped(fact.name), "</th><td>", Escaped(fact.text),
                    "</td></tr>\n");
  }
  absl::StrAppend(&out, "</table>\n");
  if (!report.warnings.empty()) {
    absl::StrAppend(&out, "<h2>Worth a look</h2>\n<ul class=\"warnings\">\n");
    for (const DataWarning& warning : report.warnings) {
      absl::StrAppend(&out, "<li>", Escaped(warning.text), "</li>\n");
    }
    absl::StrAppend(&out, "</ul>\n");
  }
  absl::StrAppend(&out, "<h2>Examples by tokens, before cutting</h2>\n",
                  Bars(report.statistics.lengths));
  absl::StrAppend(&out, "<h2>Examples</h2>\n<p class=\"key\"><span class=\"l\">learnt</span>, ",
                  "<span class=\"s\">a token of its own</span>; pointing at a token shows its ",
                  "id.</p>\n");
  for (const ShownExample& example : report.examples) out += Section(example);
  return absl::StrCat(out, "</body>\n</html>\n");
}

}  // namespace fttrain
