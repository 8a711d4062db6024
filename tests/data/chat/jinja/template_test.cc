#include "data/chat/jinja/template.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "tests/status_text.h"

namespace fttrain::jinja {
namespace {

using testing::HasSubstr;
using Variables = std::map<std::string, std::string>;

std::tm SummerDay() {
  std::tm day = {};
  day.tm_year = 124;
  day.tm_mon = 6;
  day.tm_mday = 26;
  return day;
}

absl::StatusOr<Rendered> Render(const std::string& source, const Variables& variables = {},
                                const Limits& limits = {}) {
  auto parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(variables, SummerDay(), limits);
}

std::string TextOf(const std::string& source, const Variables& variables = {}) {
  const auto rendered = Render(source, variables);
  return rendered.ok() ? rendered->text : "refused: " + ErrorText(rendered);
}

int64_t PeakMegabytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss >> 10;
}

// Before they are made: these pieces alone would be more than a gigabyte.
TEST(JinjaTemplate, ASplitIsBoundedInItsPieces) {
  Limits limits;
  limits.output = 50'000'000;
  const int64_t before = PeakMegabytes();
  for (const char* split :
       {"'a' * 40000000).split('a')", "'a' * 40000000).rsplit('a')", "'a ' * 20000000).split()",
        "'a ' * 20000000).rsplit()", "'\\n' * 40000000).splitlines()"}) {
    const auto rendered = Render(absl::StrCat("{{ (", split, " | length }}"), {}, limits);
    EXPECT_TRUE(absl::IsResourceExhausted(rendered.status())) << split << rendered.status();
  }
  EXPECT_LT(PeakMegabytes() - before, 600);
  EXPECT_EQ(TextOf("{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a b '.split() }}"
                   "{{ 'a\\nb'.splitlines(true) }}"),
            "['a', 'b,c']['a,b', 'c']['a', 'b']['a\\n', 'b']");
}

TEST(JinjaTemplate, ANewlineBehindABlockAndSpacesBeforeItGo) {
  EXPECT_EQ(TextOf("a\n  {% if true %}\n b\n  {% endif %}\nc\n"), "a\n b\nc");
  EXPECT_EQ(TextOf("a\n  {%+ if true +%}\n b {%- endif %}\nc"), "a\n  \n bc");
  EXPECT_EQ(TextOf("a {{- 'b' -}}\n c"), "abc");
  EXPECT_EQ(TextOf("x\n  {# c #}\n{% raw %}\n{{ y }}{% endraw %}"), "x\n\n{{ y }}");
}

TEST(JinjaTemplate, ValuesPrintAsPythonPrintsThem) {
  EXPECT_EQ(TextOf("{{ [1, 2.0, true, none, 'it\\'s', {'k': (1,)}] }}"),
            "[1, 2.0, True, None, \"it's\", {'k': (1,)}]");
  EXPECT_EQ(
      TextOf("{{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** -1 }}"),
      "1e+16 1e-05 0.30000000000000004 -4 2 0.5");
}

TEST(JinjaTemplate, StringsCountCodePoints) {
  const Variables text = {{"s", R"("Grüße 👋🏽")"}};
  EXPECT_EQ(TextOf("{{ s|length }} {{ s[2] }} {{ s[::-1] }} {{ s[-1:]|length }}", text),
            "8 ü \xF0\x9F\x8F\xBD\xF0\x9F\x91\x8B eßürG 1");
}

TEST(JinjaTemplate, KeysKeepTheirOrder) {
  EXPECT_EQ(TextOf("{{ d|tojson }} {{ d }}", {{"d", R"({"z": 1, "a": {"y": "é<", "b": []}})"}}),
            "{\"z\": 1, \"a\": {\"y\": \"é<\", \"b\": []}} {'z': 1, 'a': {'y': 'é<', 'b': []}}");
}

TEST(JinjaTemplate, DictsFindTheirKeysHoweverManyThereAre) {
  std::string few = "'a': 0, 1: 1, 2.5: 2, (3, 'b'): 3";
  for (int i = 4; i < 20; ++i) {
    const std::string dict = absl::StrCat("{% set d = {", few, "} %}");
    EXPECT_EQ(
        TextOf(dict + "{{ d.a }}{{ d['a'] }}{{ d[1.0] }}{{ d[true] }}{{ d[2.5] }}{{ d[(3, "
                      "'b')] }} {{ d.z is defined }} {{ 'a' in d }} {{ 9.5 in d }} {{ d|length }}"),
        absl::StrCat("001123 False True False ", i))
        << i;
    absl::StrAppend(&few, ", 'k", i, "': ", i);
  }
  EXPECT_EQ(TextOf("{% set d = {1: 'a', true: 'b', 'x': 'c', 'x': 'd'} %}{{ d }}"),
            "{1: 'b', 'x': 'd'}");
}

TEST(JinjaTemplate, WhatIsSetInALoopEndsWithItsPass) {
  EXPECT_EQ(
      TextOf("{% set x = 0 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}"),
      "120");
  EXPECT_EQ(TextOf("{% set ns = namespace(x=0) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}"
                   "{% endfor %}{{ ns.x }}"),
            "3");
}

TEST(JinjaTemplate, LoopsKnowWhereTheyAre) {
  EXPECT_EQ(
      TextOf("{% for x in 'ab' %}{{ loop.index }}/{{ loop.length }}{{ '.' if loop.last else ',' }}"
             "{% else %}none{% endfor %}"),
      "1/2,2/2.");
  EXPECT_EQ(
      TextOf(
          "{% for x in [1, [2, [3]]] recursive %}{{ '<' ~ loop(x) ~ '>' if x is iterable else x }}"
          "{% endfor %}"),
      "1<2<3>>");
}

TEST(JinjaTemplate, MacrosTakeArgumentsAndCallers) {
  EXPECT_EQ(TextOf("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}"
                   "{{ m(1) }}{{ m(1, 3, 4, c=5) }}"),
            "12(){}13(4,){'c': 5}");
  EXPECT_EQ(
      TextOf("{% macro m() %}[{{ caller(7) }}]{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}"),
      "[7]");
}

TEST(JinjaTemplate, UndefinedPrintsAsNothingAndHasNothing) {
  EXPECT_EQ(TextOf("[{{ x }}{{ x.y is defined }}]"), "refused: line 1: 'x' is undefined");
  EXPECT_EQ(TextOf("[{{ x }}{{ d.y }}{{ d.y is defined }}]", {{"d", "{}"}}), "[False]");
  EXPECT_EQ(TextOf("\n{{ d.y.z }}", {{"d", "{}"}}),
            "refused: line 2: 'dict object' has no attribute 'y'");
}

TEST(JinjaTemplate, TheSandboxForbidsWhatItForbidsInPython) {
  EXPECT_EQ(TextOf("{{ ''.__class__ }}"), "");
  EXPECT_THAT(TextOf("{{ ''.__class__.__mro__ }}"),
              HasSubstr("'__class__' of 'str' object is unsafe"));
  EXPECT_THAT(TextOf("{{ [].append(1) }}"), HasSubstr("'append' of 'list' object is unsafe"));
  EXPECT_THAT(TextOf("{% set ns = namespace() %}{% set ns._x = 1 %}"),
              HasSubstr("underscore-prefixed"));
  EXPECT_THAT(TextOf("{{ range(100001) }}"), HasSubstr("MAX_RANGE (100000)"));
}

TEST(JinjaTemplate, ATemplateThatRefusesItsInputIsToldApart) {
  const auto refused = Render("\n{{ raise_exception('only ' ~ 2) }}");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorText(refused), "only 2");
  // A reason all the same where it gives none.
  const auto silent = Render("\n{{ raise_exception('') }}");
  EXPECT_EQ(silent.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorText(silent), "line 2: raise_exception without a message");
}

TEST(JinjaTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(TextOf("a\n\n{{ 1 + 'a' }}"),
            "refused: line 3: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(
      TextOf("a\n{% for x in y %}\n"),
      "refused: line 2: Unexpected end of template. Jinja was looking for the following tags: "
      "'endfor' or 'else'. The innermost block that needs to be closed is 'for'.");
  EXPECT_EQ(TextOf("a\n{{ x|nope }}"), "refused: line 2: No filter named 'nope'.");
  EXPECT_EQ(TextOf("{% break %}"), "refused: line 1: 'break' outside loop");
}

TEST(JinjaTemplate, TodayIsTheDayThatWasGiven) {
  EXPECT_EQ(TextOf("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
}

TEST(JinjaTemplate, GenerationBlocksAreSpansOfTheText) {
  const auto rendered =
      Render("é{% for x in [1, 22] %}{% generation %}{{ x }}{% endgeneration %};{% endfor %}");
  ASSERT_TRUE(rendered.ok()) << rendered.status();
  EXPECT_EQ(rendered->text, "é1;22;");
  ASSERT_EQ(rendered->generation.size(), 2);
  EXPECT_EQ(rendered->generation[0].begin, 2);
  EXPECT_EQ(rendered->generation[0].end, 3);
  EXPECT_EQ(rendered->generation[1].begin, 4);
  EXPECT_EQ(rendered->generation[1].end, 6);
  EXPECT_FALSE(rendered->generation[1].captured);
}

TEST(JinjaTemplate, WhatIsNotThereIsRefusedByName) {
  for (const char* source :
       {"{% include 'x' %}", "{% extends 'x' %}", "{% block b %}{% endblock %}", "{{ lipsum() }}",
        "{{ [1]|random }}", "{{ 9223372036854775807 + 1 }}", "{{ 9223372036854775808 }}",
        "{{ [1]|map('upper') }}", "{{ range }}", "{{ 'a'.encode() }}"}) {
    EXPECT_EQ(Render(source).status().code(), absl::StatusCode::kUnimplemented) << source;
  }
}

TEST(JinjaTemplate, NothingRunsForEver) {
  for (const char* source :
       {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ 'a' * 999999999 }}",
        "{{ 'a'.ljust(9999999999) }}", "{{ '%9999999999d' % 1 }}", "{{ '{:999999999}'.format(1) }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x "
        "%}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for a in range(9999) %}{% set ns.x = [ns.x] %}{% endfor "
        "%}",
        "{% set ns = namespace(x='a') %}{% for a in range(99) %}{% set ns.x = ns.x.replace('a', "
        "'aaaa') %}{% endfor %}",
        // Lists that hold another twice, 40 deep: to compare them is to compare 2^40 values.
        "{% set ns = namespace(x=[], y=[]) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
        "{% set a = range(99999)|list %}{% set b = range(99999)|list %}{% for i in a %}{{ a == b "
        "}}{% endfor %}",
        "{{ [1]|batch(999999999, 0)|list }}", "{{ 'a'|indent(9999999999) }}"}) {
    EXPECT_FALSE(Render(source).ok()) << source;
  }
  const std::string deep(100000, '('), chain = "{{ x" + std::string(200000, '.') + " }}";
  EXPECT_FALSE(Render("{{ " + deep).ok());
  EXPECT_FALSE(Render(chain).ok());
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += "{% if x %}";
  EXPECT_FALSE(Render(nested).ok());
}

TEST(JinjaTemplate, TextThatIsNotUtf8IsRefused) {
  EXPECT_FALSE(Template::Parse("a\xFF").ok());
  EXPECT_EQ(TextOf(""), "");
}

// A frame that a macro closes over, a namespace that holds itself: all of it is let go.
TEST(JinjaTemplate, CirclesAreNotLeaked) {
  EXPECT_EQ(TextOf("{% set ns = namespace() %}{% set ns.self = ns %}{% macro outer() %}"
                   "{% macro inner() %}{{ inner is defined }}{% endmacro %}{% set ns.m = inner %}"
                   "{{ inner() }}{% endmacro %}{{ outer() }}{{ ns.m() }}"),
            "TrueTrue");
}

}  // namespace
}  // namespace fttrain::jinja
