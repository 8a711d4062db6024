#include "data/chat/jinja/format.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/format_spec.h"
#include "data/chat/jinja/numbers.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/string_split.h"
#include "data/chat/jinja/text.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

constexpr int64_t kMaxWidth = int64_t{1} << 31;

[[noreturn]] void BadValue(std::string message) {
  throw Error(ErrorKind::kValue, std::move(message));
}

Spec ParseSpec(const std::string& text) {
  Spec spec;
  size_t i = 0;
  const auto is_align = [&](size_t at) {
    return at < text.size() && std::string_view("<>=^").find(text[at]) != std::string_view::npos;
  };
  const size_t first = text.empty() ? 0 : Utf8Length(static_cast<unsigned char>(text[0]));
  if (!text.empty() && is_align(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    i = first + 1;
  } else if (is_align(0)) {
    spec.align = text[i++];
  }
  const auto take = [&](char c) { return i < text.size() && text[i] == c ? (++i, true) : false; };
  if (i < text.size() && (text[i] == '+' || text[i] == '-' || text[i] == ' ')) {
    spec.sign = text[i++];
  }
  if (take('z')) throw Error(ErrorKind::kUnsupported, "format flag 'z' is not supported");
  spec.form.alternate = take('#');
  if (take('0')) {
    if (spec.align == 0) {
      spec.align = '=';
      spec.fill = '0';
    }
  }
  if (i < text.size() && IsDigitChar(text[i])) spec.width = ReadNumber(text, &i);
  if (i < text.size() && (text[i] == ',' || text[i] == '_')) spec.grouping = text[i++];
  if (take('.')) {
    if (i >= text.size() || !IsDigitChar(text[i])) BadValue("Format specifier missing precision");
    spec.form.precision = ReadNumber(text, &i);
  }
  if (i < text.size()) spec.form.type = text[i++];
  if (i < text.size()) BadValue("Invalid format specifier");
  return spec;
}

[[noreturn]] void UnknownCode(char code, const Value& value) {
  BadValue(absl::StrCat("Unknown format code '", std::string(1, code), "' for object of type '",
                        TypeName(value), "'"));
}

std::string FormatString(Run& run, const Value& value, const Spec& spec) {
  if (spec.form.type != 0 && spec.form.type != 's') UnknownCode(spec.form.type, value);
  if (spec.sign != '-' || spec.form.alternate || spec.grouping != 0) {
    BadValue("Sign not allowed in string format specifier");
  }
  if (spec.align == '=' && spec.fill != "0") {
    BadValue("'=' alignment not allowed in string format specifier");
  }
  const std::string& text = value.text();
  const std::string cut =
      spec.form.precision < 0
          ? text
          : text.substr(0, ByteOffset(text, static_cast<size_t>(spec.form.precision)));
  return Aligned(run, spec, "", cut, spec.align == 0 || spec.align == '=' ? '<' : spec.align);
}

std::string FormatNumber(Run& run, const Value& value, Spec spec) {
  const char type = spec.form.type;
  const bool integral = value.IsInteger() && (type == 0 || std::string_view("dxXobcn").find(type) !=
                                                               std::string_view::npos);
  if (!integral && type != 0 && std::string_view("eEfFgGn%").find(type) == std::string_view::npos) {
    UnknownCode(type, value);
  }
  if (type == 'n') throw Error(ErrorKind::kUnsupported, "format code 'n' is not supported");
  if (integral && spec.form.precision >= 0) {
    BadValue("Precision not allowed in integer format specifier");
  }
  if (integral && type == 'c') {
    const int64_t c = value.integer();
    if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
      throw Error(ErrorKind::kArithmetic, "%c arg not in range(0x110000)");
    }
    std::string out;
    AppendUtf8(static_cast<uint32_t>(c), &out);
    return Aligned(run, spec, "", out, spec.align == 0 ? '<' : spec.align);
  }
  const bool negative = integral ? value.integer() < 0 : std::signbit(value.real());
  const bool nan = !integral && std::isnan(value.real());
  std::string digits = integral ? IntegerDigits(value.integer(), spec.form)
                                : RealDigits(run, value.real(), spec.form);
  std::string prefix = negative && !nan ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  if (integral && spec.form.alternate && type != 0 && type != 'd') {
    prefix += std::string("0") + type;
  }
  const size_t every = integral && type != 0 && type != 'd' ? 4 : 3;
  if (spec.grouping == ',' && every == 4) BadValue("Cannot specify ',' with 'x'.");
  if (spec.grouping != 0) {
    const char align = spec.align == 0 ? '>' : spec.align;
    if (align == '=' && spec.fill == "0") {  // zeros are grouped, too
      while (static_cast<int64_t>(prefix.size() + Grouped(digits, spec.grouping, every).size()) <
             spec.width) {
        run.Make(static_cast<int64_t>(digits.size()));
        digits.insert(0, "0");
      }
    }
    digits = Grouped(digits, spec.grouping, every);
  }
  return Aligned(run, spec, prefix, digits, spec.align == 0 ? '>' : spec.align);
}

}  // namespace

int64_t ReadNumber(const std::string& text, size_t* i) {
  int64_t out = 0;
  for (; *i < text.size() && IsDigitChar(text[*i]); ++*i) {
    out = out * 10 + (text[*i] - '0');
    if (out > kMaxWidth) BadValue("Too many decimal digits in format string");
  }
  return out;
}

std::string Aligned(Run& run, const Spec& spec, const std::string& prefix, const std::string& body,
                    char align) {
  const auto length = static_cast<int64_t>(LengthOf(prefix) + LengthOf(body));
  if (spec.width <= length) return prefix + body;
  if (align == '=') {
    return prefix +
           Justify(run, body, spec.width - static_cast<int64_t>(LengthOf(prefix)), spec.fill, 1);
  }
  if (align == '^') {  // the odd one goes to the right, unlike in str.center
    const int64_t left = (spec.width - length) / 2;
    const std::string padded = Justify(run, prefix + body, length + left, spec.fill, 1);
    return Justify(run, padded, spec.width, spec.fill, -1);
  }
  return Justify(run, prefix + body, spec.width, spec.fill, align == '<' ? -1 : 1);
}

std::string FormatSpec(Run& run, const Value& value, const std::string& spec) {
  run.Step();
  if (spec.empty()) return Text(run, value);
  if (value.Is(Kind::kString)) return FormatString(run, value, ParseSpec(spec));
  if (value.IsNumber()) return FormatNumber(run, value, ParseSpec(spec));
  throw Error(ErrorKind::kType,
              absl::StrCat("unsupported format string passed to ", TypeName(value), ".__format__"));
}

}  // namespace fttrain::jinja
