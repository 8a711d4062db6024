#include "launch/report/html.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

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
figure { margin: 1.2rem 0; }
figcaption { font-weight: 600; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 10px system-ui, sans-serif; }
.axis { stroke: var(--line); fill: none; }
.legend { color: var(--soft); font-size: .85rem; }
.legend i { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px;
  margin: 0 .3rem 0 .8rem; }
.legend span:first-child i { margin-left: 0; }
.shares { display: flex; height: 1.2rem; border-radius: 3px; overflow: hidden; margin: .4rem 0; }
.shares i { display: block; height: 100%; }
)";

}  // namespace

std::string HtmlEscaped(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string HtmlHead(const std::string& title, const std::string& more) {
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
      more, "<title>", HtmlEscaped(title), "</title>\n<style>", kStyle,
      "</style>\n</head>\n<body>\n<h1>", HtmlEscaped(title), "</h1>\n");
}

}  // namespace fttrain
