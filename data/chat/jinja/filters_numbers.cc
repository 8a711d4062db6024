#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/chat/jinja/filters.h"
#include "data/chat/jinja/format.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

[[noreturn]] void TooLarge() {
  throw Error(ErrorKind::kUnsupported, "integers beyond 64 bits are not supported");
}

Value Truncated(double value) {
  if (std::fabs(value) >= 9223372036854775807.0) TooLarge();
  return Value::Int(static_cast<int64_t>(value));
}

// Digits without single underscores between them; nullopt for another use of underscores.
std::optional<std::string> WithoutUnderscores(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto digit = [&](size_t at) {
      return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])) != 0;
    };
    if (i == 0 || !digit(i - 1) || !digit(i + 1)) return std::nullopt;
  }
  return out;
}

// int(text, base); nullopt where Python raises ValueError.
std::optional<int64_t> ParseInteger(const std::string& text, int64_t base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  std::string_view digits = Strip(text, nullptr, true, true);
  const bool negative = digits.starts_with("-");
  if (negative || digits.starts_with("+")) digits.remove_prefix(1);
  if (digits.size() > 1 && digits[0] == '0') {
    const char mark = static_cast<char>(digits[1] | 0x20);
    const int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == 0 || base == marked)) {
      base = marked;
      digits.remove_prefix(2);
      if (digits.starts_with("_")) digits.remove_prefix(1);
    } else if (base == 0 && digits.find_first_not_of("0_") != std::string_view::npos) {
      return std::nullopt;  // 010
    }
  }
  const auto plain = WithoutUnderscores(digits);
  if (!plain.has_value() || plain->empty() || (*plain)[0] == '-') return std::nullopt;
  const std::string whole = (negative ? "-" : "") + *plain;
  int64_t value = 0;
  const auto parsed = std::from_chars(whole.data(), whole.data() + whole.size(), value,
                                      base == 0 ? 10 : static_cast<int>(base));
  if (parsed.ptr != whole.data() + whole.size()) return std::nullopt;
  if (parsed.ec == std::errc::result_out_of_range) TooLarge();
  return parsed.ec == std::errc() ? std::optional<int64_t>(value) : std::nullopt;
}

// float(text); nullopt where Python raises ValueError.
std::optional<double> ParseReal(const std::string& text) {
  const std::string_view stripped = Strip(text, nullptr, true, true);
  const auto plain = WithoutUnderscores(stripped);
  if (!plain.has_value() || plain->empty()) return std::nullopt;
  const std::string low = Lower(*plain);
  const std::string name = low.substr(low[0] == '+' || low[0] == '-' ? 1 : 0);
  const bool word = name == "inf" || name == "infinity" || name == "nan";
  if (!word && name.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
  if (name.empty() || (!word && name[0] != '.' && (name[0] < '0' || name[0] > '9'))) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double value = std::strtod(low.c_str(), &end);
  return *end == '\0' ? std::optional<double>(value) : std::nullopt;
}

Value ToInt(Run&, Arguments& args) {
  const Parameters p("int", args, {"value", "default", "base"}, 1);
  const Value& value = p[0];
  const Value fallback = p.Or(1, Value::Int(0));
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (value.IsInteger()) return Value::Int(value.integer());
  if (value.Is(Kind::kFloat)) {
    if (std::isinf(value.real())) {
      throw Error(ErrorKind::kArithmetic, "cannot convert float infinity to integer");
    }
    return std::isnan(value.real()) ? fallback : Truncated(value.real());
  }
  if (!value.Is(Kind::kString)) return fallback;
  if (const auto integer = ParseInteger(value.text(), p.Int(2, 10))) return Value::Int(*integer);
  const auto real = ParseReal(value.text());
  return real.has_value() && std::isfinite(*real) ? Truncated(*real) : fallback;
}

std::optional<double> RealOf(const Value& value) {
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (value.IsNumber()) return value.real();
  return value.Is(Kind::kString) ? ParseReal(value.text()) : std::nullopt;
}

Value ToFloat(Run&, Arguments& args) {
  const Parameters p("float", args, {"value", "default"}, 1);
  const auto real = RealOf(p[0]);
  return real.has_value() ? Value::Float(*real) : p.Or(1, Value::Float(0));
}

Value Abs(Run&, Arguments& args) {
  const Parameters p("abs", args, {"x"}, 1, 1);
  if (p[0].Is(Kind::kUndefined)) FailUndefined(p[0]);
  if (p[0].Is(Kind::kFloat)) return Value::Float(std::fabs(p[0].real()));
  if (!p[0].IsInteger()) {
    throw Error(ErrorKind::kType,
                absl::StrCat("bad operand type for abs(): '", TypeName(p[0]), "'"));
  }
  return p[0].integer() < 0 ? Negative(p[0]) : Positive(p[0]);
}

// round(integer, -digits), half to even.
Value RoundedInteger(int64_t value, int64_t digits) {
  if (digits > 18) return Value::Int(0);
  int64_t unit = 1;
  for (; digits > 0; --digits) unit *= 10;
  const int64_t rest = ((value % unit) + unit) % unit, low = value - rest;
  const bool up = rest > unit - rest || (rest == unit - rest && (low / unit) % 2 != 0);
  int64_t out = low;
  if (up && __builtin_add_overflow(low, unit, &out)) TooLarge();
  return Value::Int(out);
}

Value Round(Run& run, Arguments& args) {
  const Parameters p("round", args, {"value", "precision", "method"}, 1);
  const std::string method = p.Has(2) && p[2].Is(Kind::kString) ? p[2].text()
                             : p.Has(2)                         ? ""
                                                                : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    throw Error(ErrorKind::kRuntime, "method must be common, ceil or floor");
  }
  const Value& value = p[0];
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (!value.IsNumber()) {
    throw Error(ErrorKind::kType,
                absl::StrCat("type ", TypeName(value), " doesn't define __round__ method"));
  }
  if (method == "common") {
    const bool to_integer = p.Has(1) && p[1].Is(Kind::kNone);
    const int64_t digits = to_integer ? 0 : p.Int(1, 0);
    if (value.IsInteger()) {
      return digits >= 0 ? Value::Int(value.integer()) : RoundedInteger(value.integer(), -digits);
    }
    if (to_integer && !std::isfinite(value.real())) {
      throw Error(ErrorKind::kArithmetic, "cannot convert float to integer");
    }
    const double rounded = RoundReal(value.real(), digits);
    if (std::isinf(rounded) && std::isfinite(value.real())) {
      throw Error(ErrorKind::kArithmetic, "rounded value too large to represent");
    }
    return to_integer ? Truncated(rounded) : Value::Float(rounded);
  }
  const Value scale = Apply(run, Operator::kPower, Value::Int(10), p.Or(1, Value::Int(0)));
  const Value scaled = Apply(run, Operator::kMultiply, value, scale);
  if (scaled.Is(Kind::kFloat) && !std::isfinite(scaled.real())) {
    throw Error(ErrorKind::kArithmetic, "cannot convert float to integer");
  }
  const Value whole = scaled.IsInteger() ? scaled
                                         : Truncated(method == "ceil" ? std::ceil(scaled.real())
                                                                      : std::floor(scaled.real()));
  return Apply(run, Operator::kDivide, whole, scale);
}

Value FileSize(Run&, Arguments& args) {
  const Parameters p("filesizeformat", args, {"value", "binary"}, 1);
  const auto real = RealOf(p[0]);
  if (!real.has_value()) {
    throw Error(p[0].Is(Kind::kString) ? ErrorKind::kValue : ErrorKind::kType,
                "filesizeformat: could not convert to float");
  }
  const bool binary = p.Flag(1, false);
  const double base = binary ? 1024 : 1000, bytes = *real;
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  if (bytes == 1) return Value::String("1 Byte");
  if (std::isnan(bytes)) throw Error(ErrorKind::kValue, "cannot convert float NaN to integer");
  if (bytes < base) {
    if (std::isinf(bytes)) throw Error(ErrorKind::kArithmetic, "cannot convert float infinity");
    return Value::String(absl::StrCat(Truncated(bytes).integer(), " Bytes"));
  }
  double unit = base * base;
  size_t i = 0;
  while (bytes >= unit && i + 1 < kPrefixes.size()) {
    unit *= base;
    ++i;
  }
  const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
  return Value::String(
      absl::StrFormat("%.1f %c%s", base * bytes / unit, prefix, binary ? "iB" : "B"));
}

}  // namespace

const std::vector<FilterEntry>& NumberFilters() {
  static const std::vector<FilterEntry> filters = {{"abs", Abs},
                                                   {"filesizeformat", FileSize},
                                                   {"float", ToFloat},
                                                   {"int", ToInt},
                                                   {"round", Round}};
  return filters;
}

}  // namespace fttrain::jinja
