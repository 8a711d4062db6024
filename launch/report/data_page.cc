// The report as a page: one file, no scripts, nothing from elsewhere.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/report/data_report.h"
#include "launch/report/html.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

// A token is a span, so that its ids can be seen by pointing at it.
std::string Tokens(const ShownExample& example) {
  std::string out;
  for (const ShownToken& token : example.shown) {
    std::string classes = token.learnt ? "l" : "";
    if (token.special) absl::StrAppend(&classes, classes.empty() ? "" : " ", "s");
    absl::StrAppend(&out, "<span", classes.empty() ? "" : absl::StrCat(" class=\"", classes, "\""),
                    " title=\"", absl::StrJoin(token.ids, " "), "\">", HtmlEscaped(token.text),
                    "</span>");
  }
  return out;
}

std::string Section(const ShownExample& example) {
  std::string out =
      absl::StrCat("<div class=\"example\"><h3>example ", WithCommas(example.number), ": ",
                   HtmlEscaped(Headline(example)), "</h3>\n<pre>", Tokens(example), "</pre>\n");
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
  std::string out = absl::StrCat(
      HtmlHead(absl::StrCat("What is trained on: ", report.model_path)), "<table>\n");
  for (const DataFact& fact : FactsOf(report)) {
    absl::StrAppend(&out, "<tr><th>", HtmlEscaped(fact.name), "</th><td>", HtmlEscaped(fact.text),
                    "</td></tr>\n");
  }
  absl::StrAppend(&out, "</table>\n");
  if (!report.warnings.empty()) {
    absl::StrAppend(&out, "<h2>Worth a look</h2>\n<ul class=\"warnings\">\n");
    for (const DataWarning& warning : report.warnings) {
      absl::StrAppend(&out, "<li>", HtmlEscaped(warning.text), "</li>\n");
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
