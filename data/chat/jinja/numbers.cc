#include "data/chat/jinja/numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "data/chat/jinja/format.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

constexpr int64_t kMaxPrecision = 2000;  // beyond it a double has only zeros to show

std::string Printed(const char* form, int precision, double value) {
  const int length = std::snprintf(nullptr, 0, form, precision, value);
  std::string out(static_cast<size_t>(length) + 1, '\0');
  std::snprintf(out.data(), out.size(), form, precision, value);
  out.pop_back();
  return out;
}

std::string InBase(uint64_t value, unsigned base, bool upper) {
  std::string out;
  do {
    const auto digit = static_cast<unsigned>(value % base);
    out += static_cast<char>(digit < 10 ? '0' + digit : (upper ? 'A' : 'a') + digit - 10);
    value /= base;
  } while (value > 0);
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

std::string IntegerDigits(int64_t value, const NumberForm& form) {
  const uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  switch (form.type) {
    case 'x':
    case 'X':
      return InBase(size, 16, form.type == 'X');
    case 'o':
      return InBase(size, 8, false);
    case 'b':
      return InBase(size, 2, false);
    default:
      return InBase(size, 10, false);
  }
}

std::string RealDigits(Run& run, double value, const NumberForm& form) {
  value = std::fabs(value);
  const bool upper = form.type == 'E' || form.type == 'F' || form.type == 'G';
  if (!std::isfinite(value)) {
    const std::string text = std::isnan(value) ? "nan" : "inf";
    return upper ? Upper(text) : text;
  }
  if (form.type == 0 && form.precision < 0) return RealText(value);
  const int64_t asked = form.precision < 0 ? 6 : form.precision;
  if (asked > kMaxPrecision) throw Error(ErrorKind::kUnsupported, "precision is too big");
  const int precision = static_cast<int>(asked);
  run.Make(precision + 400);
  switch (form.type) {
    case 'e':
      return Printed(form.alternate ? "%#.*e" : "%.*e", precision, value);
    case 'E':
      return Printed(form.alternate ? "%#.*E" : "%.*E", precision, value);
    case 'f':
    case 'F':
      return Printed(form.alternate ? "%#.*f" : "%.*f", precision, value);
    case '%':
      return Printed("%.*f", precision, value * 100) + "%";
    case 'G':
      return Printed(form.alternate ? "%#.*G" : "%.*G", precision, value);
    case 0: {  // as 'g', but with a digit behind the point, and an exponent one digit earlier
      const int digits = std::max(precision, 1);
      const std::string e = Printed("%.*e", digits - 1, value);
      const int exponent = std::stoi(e.substr(e.find('e') + 1));
      if (exponent < -4 || exponent >= digits - 1) {
        std::string mantissa = e.substr(0, e.find('e'));
        if (mantissa.find('.') != std::string::npos) {
          mantissa.resize(mantissa.find_last_not_of('0') + 1);
          if (mantissa.back() == '.') mantissa.pop_back();
        }
        return mantissa + e.substr(e.find('e'));
      }
      std::string out = Printed("%.*g", digits, value);
      return out.find_first_of(".e") == std::string::npos ? out + ".0" : out;
    }
    default:
      return Printed(form.alternate ? "%#.*g" : "%.*g", precision, value);
  }
}

std::string Grouped(const std::string& digits, char separator, size_t every) {
  size_t whole = 0;
  while (whole < digits.size() && std::isxdigit(static_cast<unsigned char>(digits[whole])) != 0 &&
         (every == 4 || std::isdigit(static_cast<unsigned char>(digits[whole])) != 0)) {
    ++whole;
  }
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

double RoundReal(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 330) return value;
  if (digits < -330) return std::copysign(0.0, value);
  if (digits >= 0)
    return std::strtod(Printed("%.*f", static_cast<int>(digits), value).c_str(), nullptr);
  // Round half even at a power of ten: the whole part in decimal says which way.
  const auto drop = static_cast<size_t>(-digits);
  const std::string exact = Printed("%.*f", 60, std::fabs(value));
  std::string whole = exact.substr(0, exact.find('.'));
  if (drop > whole.size()) return std::copysign(0.0, value);
  std::string kept = whole.substr(0, whole.size() - drop);
  const std::string rest = whole.substr(whole.size() - drop) + exact.substr(exact.find('.') + 1);
  const bool above =
      rest[0] > '5' || (rest[0] == '5' && rest.find_first_not_of('0', 1) != std::string::npos);
  const bool half = rest[0] == '5' && !above;
  const bool odd = !kept.empty() && (kept.back() - '0') % 2 == 1;
  if (kept.empty()) kept = "0";
  const double unit = std::strtod((kept + std::string(drop, '0')).c_str(), nullptr);
  const double up = std::strtod(("1" + std::string(drop, '0')).c_str(), nullptr);
  return std::copysign(above || (half && odd) ? unit + up : unit, value);
}

}  // namespace fttrain::jinja
