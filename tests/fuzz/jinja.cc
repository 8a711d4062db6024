// A chat template in Jinja, rendered. (tests/data/chat/jinja/fuzz_test.cc makes templates by a
// grammar; here are bytes.)
#include "data/chat/jinja/template.h"
#include "data/chat/source.h"
#include "data/text/unicode.h"
#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds = {
      "{% for m in messages %}{{ m['role'] ~ ': ' + m.content | trim }}{% endfor %}",
      "{%- macro f(a, b=2) -%}{{ a * b }}{%- endmacro -%}{{ f(n) }}{% set ns = namespace(i=0) %}",
      "{% if n is divisibleby 7 and x.a not in ['q'] %}{{ x | tojson(indent=2) }}{% else %}-{% "
      "endif %}",
      "{{ '%5.2f|%s' | format(1.5, 'a') }}{{ 'abc'[::-1].upper().split('B') | join(', ') }}",
      "{% generation %}{{ range(3) | map('string') | list | length }}{% endgeneration %}"};
  for (const auto& [name, text] : BuiltinChatTemplates()) {
    if (text.size() < 3000) seeds.emplace_back(text);
  }
  return seeds;
}

std::vector<std::string> Words() {
  return {"{%",
          "%}",
          "{{",
          "}}",
          "{#",
          "#}",
          "-%}",
          "{%-",
          "for",
          "in",
          "endfor",
          "if",
          "elif",
          "else",
          "endif",
          "set",
          "endset",
          "macro",
          "endmacro",
          "call",
          "endcall",
          "filter",
          "endfilter",
          "generation",
          "endgeneration",
          "break",
          "continue",
          "raise_exception('x')",
          "namespace()",
          "loop.index",
          "loop.previtem",
          "messages",
          "x",
          "n",
          "not ",
          " is ",
          "defined",
          "none",
          "true",
          "|tojson",
          "|default('')",
          "|sort",
          "|join",
          "|replace('a','b')",
          "|batch(2)",
          "|groupby('role')",
          "|selectattr('role')",
          "|map(attribute='a')",
          "|indent",
          "|format",
          "|round",
          "|int",
          "|dictsort",
          "range(9)",
          "cycler(1)",
          "joiner()",
          "dict(a=1)",
          "lipsum()",
          ".items()",
          ".format(1)",
          ".split()",
          "**",
          "//",
          "%",
          "~",
          "==",
          "[1:]",
          "[::-1]",
          "*[1]",
          "**x",
          "'{:>9999}'",
          "strftime_now('%Y')"};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  static const std::map<std::string, std::string> variables = {
      {"messages",
       R"([{"role": "user", "content": "Hi 👋"}, {"role": "assistant", "content": "Yes"}])"},
      {"n", "7"},
      {"add_generation_prompt", "true"},
      {"bos_token", "\"<s>\""},
      {"eos_token", "\"</s>\""},
      {"x", R"({"a": "b", "c": [true, 2.5, null]})"}};
  jinja::Limits limits;
  limits.steps = 5000;
  limits.bytes = 1 << 20;
  limits.output = 1 << 18;
  const auto parsed = jinja::Template::Parse({reinterpret_cast<const char*>(data), size});
  if (!parsed.ok()) return Refused(parsed.status());
  ++accepted;
  const auto rendered = parsed->Render(variables, std::tm{}, limits);
  // The message may be the template's own words: who shows it makes it printable.
  if (!rendered.ok()) {
    FT_CHECK(!rendered.status().message().empty(), "");
    return 0;
  }
  const std::string& text = rendered->text;
  FT_CHECK(static_cast<int64_t>(text.size()) <= limits.output, text.size());
  FT_CHECK(FindInvalidUtf8(text) == std::string::npos, "");
  for (const auto& span : rendered->generation) {
    FT_CHECK(span.begin <= span.end && (span.captured || span.end <= text.size()), span.begin, " ",
             span.end);
  }
  return 0;
}
