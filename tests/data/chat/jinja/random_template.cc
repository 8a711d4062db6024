#include "tests/data/chat/jinja/random_template.h"

namespace fttrain::jinja {
namespace {

constexpr const char* kAtoms[] = {"x",
                                  "y",
                                  "n",
                                  "ns",
                                  "ns.a",
                                  "messages",
                                  "messages[0]",
                                  "loop",
                                  "loop.index",
                                  "loop.length",
                                  "m",
                                  "caller",
                                  "varargs",
                                  "missing",
                                  "''",
                                  "'abc'",
                                  "'é👋'",
                                  "'%s%5d'",
                                  "'{:>9}{}'",
                                  "' a b '",
                                  "0",
                                  "1",
                                  "-1",
                                  "99999999999",
                                  "9223372036854775807",
                                  "1.5",
                                  "1e308",
                                  "true",
                                  "none",
                                  "[]",
                                  "{}",
                                  "()",
                                  "range(9)",
                                  "range(99999)",
                                  "[1, [2, 'x']]",
                                  "{'a': 1, 2: [3]}",
                                  "namespace(a=1)",
                                  "cycler(1, 2)",
                                  "joiner()",
                                  "dict(a=2)",
                                  "x.items()",
                                  "'\\u00e9'"};
constexpr const char* kBinary[] = {
    " + ",  " - ",  " * ", " / ",  " // ", " % ",      " ** ",  " ~ ",
    " == ", " != ", " < ", " >= ", " in ", " not in ", " and ", " or "};
constexpr const char* kFilters[] = {"abs",
                                    "attr('a')",
                                    "batch(3, 0)",
                                    "capitalize",
                                    "center(99999999)",
                                    "default(1)",
                                    "dictsort",
                                    "e",
                                    "filesizeformat",
                                    "first",
                                    "float",
                                    "format(1)",
                                    "groupby('a')",
                                    "indent(999999999)",
                                    "int",
                                    "items",
                                    "join",
                                    "join('abc')",
                                    "last",
                                    "length",
                                    "list",
                                    "lower",
                                    "map('upper')",
                                    "map(attribute='a')",
                                    "max",
                                    "min",
                                    "reject('odd')",
                                    "replace('', x)",
                                    "replace('a', 'aaaa')",
                                    "reverse",
                                    "round(3)",
                                    "round(-400)",
                                    "round(1, 'ceil')",
                                    "safe",
                                    "select",
                                    "selectattr('a', 'eq', 1)",
                                    "slice(999999999)",
                                    "slice(3, 1)",
                                    "sort",
                                    "string",
                                    "sum",
                                    "sum(start=[])",
                                    "title",
                                    "trim",
                                    "truncate(3)",
                                    "unique",
                                    "upper",
                                    "urlencode",
                                    "wordcount",
                                    "tojson",
                                    "tojson(indent=99999999)",
                                    "batch(999999999, 0)",
                                    "map('map', 'map')",
                                    "list",
                                    "list"};
constexpr const char* kSuffixes[] = {".a",
                                     ".upper()",
                                     ".split()",
                                     ".split('a')",
                                     ".replace('', 'abcabc')",
                                     "[0]",
                                     "[-1]",
                                     "['a']",
                                     "[1:]",
                                     "[::-1]",
                                     "[9:0:-2]",
                                     ".items()",
                                     ".get('a', x)",
                                     ".join(x)",
                                     ".format(x, y)",
                                     ".zfill(99999999)",
                                     ".ljust(999999999999)",
                                     ".center(7, '*')",
                                     ".expandtabs(99999999)",
                                     ".strip(x)",
                                     ".title()",
                                     ".splitlines()",
                                     ".count('')",
                                     ".next()",
                                     "()",
                                     "(x)",
                                     "(*x)",
                                     "(**x)",
                                     "(a=x)",
                                     ".append(x)",
                                     ".__class__",
                                     ".cycle(x)",
                                     ".rsplit(None, 2)",
                                     ".partition('a')"};
constexpr const char* kTests[] = {"odd",      "divisibleby 3", "defined",  "none",    "mapping",
                                  "sequence", "in x",          "sameas y", "eq x",    "lt 3",
                                  "upper",    "callable",      "string",   "iterable"};
constexpr const char* kPieces[] = {
    "{{",  "}}",     "{%",    "%}",        "{#",     "#}",   "-",
    "+",   "'",      "\"",    "(",         ")",      "[",    "]",
    "{",   "}",      "|",     ".",         ",",      ":",    "=",
    "\\",  "\n",     "\r",    " ",         "\xc3",   "\xff", "\xf0\x9f\x91\x8b",
    "\0x", "endfor", "endif", "raw",       "endraw", "is",   "not",
    "if",  "else",   "for",   "recursive", "*",      "**",   "1e999",
    "0x",  "\\x"};

}  // namespace

std::string RandomTemplates::Expression(int depth) {
  if (depth <= 0) return OneOf(kAtoms);
  switch (Below(9)) {
    case 0:
    case 1:
      return Expression(depth - 1) + "|" + OneOf(kFilters);
    case 2:
      return Expression(depth - 1) + OneOf(kBinary) + Expression(depth - 1);
    case 3:
      return "(" + Expression(depth - 1) + OneOf(kBinary) + Expression(depth - 1) + ")";
    case 4:
    case 5:
      return "(" + Expression(depth - 1) + ")" + OneOf(kSuffixes);
    case 6:
      return Expression(depth - 1) + " is " + OneOf(kTests);
    case 7:
      return Expression(depth - 1) + " if " + Expression(depth - 1) + " else " +
             Expression(depth - 1);
    default:
      return "[" + Expression(depth - 1) + ", " + Expression(depth - 1) + "]";
  }
}

std::string RandomTemplates::Tag(const std::string& inside) {
  static constexpr const char* kSigns[] = {"", "", "-", "+"};
  return "{%" + OneOf(kSigns) + " " + inside + " " + OneOf(kSigns) + "%}";
}

std::string RandomTemplates::Body(int depth) {
  std::string out;
  for (size_t i = 0; i < 1 + Below(3); ++i) out += Statement(depth);
  return out;
}

std::string RandomTemplates::Statement(int depth) {
  const int deep = static_cast<int>(Below(4));
  switch (depth > 0 ? Below(14) : Below(4)) {
    case 0:
    case 1:
      return "{{ " + Expression(deep) + " }}";
    case 2:
      return Tag("set x = " + Expression(deep));
    case 3:
      return Tag("set ns.a = " + Expression(deep));
    case 4:
    case 5:
      return Tag("if " + Expression(deep)) + Body(depth - 1) + Tag("else") + Body(depth - 1) +
             Tag("endif");
    case 6:
      return Tag("for x in " + Expression(deep)) + Body(depth - 1) + Tag("endfor");
    case 7:
      return Tag("for x in " + Expression(deep) + " if " + Expression(1) + " recursive") +
             Body(depth - 1) + "{{ loop(" + Expression(1) + ") }}" + Tag("endfor");
    case 8:
      return Tag("for x, y in " + Expression(deep)) + Tag("if x") + Tag("break") + Tag("endif") +
             Body(depth - 1) + Tag("else") + Body(depth - 1) + Tag("endfor");
    case 9:
      return Tag("macro m(x, y=" + Expression(1) + ")") + Body(depth - 1) + "{{ m(" +
             Expression(1) + ") }}" + Tag("endmacro");
    case 10:
      return Tag("call(x) m(" + Expression(1) + ")") + Body(depth - 1) + Tag("endcall");
    case 11:
      return Tag("set y") + Body(depth - 1) + Tag("endset");
    case 12:
      return Tag("filter " + OneOf(kFilters)) + Body(depth - 1) + Tag("endfilter");
    default:
      return Tag("generation") + Body(depth - 1) + Tag("endgeneration");
  }
}

void RandomTemplates::Break(std::string* text) {
  for (size_t i = 0; i < 1 + Below(4); ++i) {
    const size_t at = text->empty() ? 0 : Below(text->size());
    switch (Below(4)) {
      case 0:
        text->erase(at, 1 + Below(5));
        break;
      case 1:
        text->insert(at, OneOf(kPieces));
        break;
      case 2:
        text->resize(at);
        break;
      default: {  // some of it again and again
        const std::string part = text->substr(at, 1 + Below(6));
        for (size_t n = Below(400); n > 0; --n) text->insert(at, part);
      }
    }
  }
}

std::string RandomTemplates::Next() {
  std::string text = "{% set ns = namespace(a=messages) %}" + Body(3);
  if (Below(3) == 0) Break(&text);
  return text;
}

}  // namespace fttrain::jinja
