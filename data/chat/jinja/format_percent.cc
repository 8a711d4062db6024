// 'text' % values.
#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/format.h"
#include "data/chat/jinja/format_spec.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/string_split.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

[[noreturn]] void BadValue(std::string message) {
  throw Error(ErrorKind::kValue, std::move(message));
}
[[noreturn]] void BadType(std::string message) {
  throw Error(ErrorKind::kType, std::move(message));
}

// One conversion of 'text' % values.
struct Conversion {
  bool left = false, zero = false, alternate = false;
  char sign = 0;
  int64_t width = -1, precision = -1;
};

std::string PercentNumber(Run& run, const Value& value, Conversion c, char type) {
  Spec spec;
  spec.form = {type, c.precision, c.alternate};
  const bool integral = std::string_view("dxXo").find(type) != std::string_view::npos;
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (!value.IsNumber() || (integral && type != 'd' && !value.IsInteger())) {
    if (integral) {
      BadType(absl::StrCat("%", std::string(1, type), " format: a real number is required, not ",
                           TypeName(value)));
    }
    BadType(absl::StrCat("must be real number, not ", TypeName(value)));
  }
  std::string prefix, digits;
  bool negative = false;
  if (integral) {
    if (!value.IsInteger() && !(std::fabs(value.real()) < 9.2e18)) {
      throw Error(ErrorKind::kUnsupported, "integers beyond 64 bits are not supported");
    }
    const int64_t i = value.IsInteger() ? value.integer() : static_cast<int64_t>(value.real());
    negative = i < 0;
    digits = IntegerDigits(i, spec.form);
    if (c.precision > static_cast<int64_t>(digits.size())) {
      digits = Justify(run, digits, c.precision, "0", 1);
    }
    if (c.alternate && type != 'd') prefix = std::string("0") + type;
  } else {
    negative = std::signbit(value.real()) && !std::isnan(value.real());
    digits = RealDigits(run, value.real(), spec.form);
  }
  std::string sign = negative ? "-" : c.sign != 0 ? std::string(1, c.sign) : "";
  sign += prefix;
  spec.width = c.width;
  spec.fill = c.zero && !c.left ? '0' : ' ';
  return Aligned(run, spec, sign, digits, c.left ? '<' : c.zero ? '=' : '>');
}

std::string PercentOne(Run& run, const Value& value, const Conversion& c, char type) {
  std::string body;
  switch (type) {
    case 's':
      body = Text(run, value);
      break;
    case 'r':
      body = Repr(run, value);
      break;
    case 'a':
      throw Error(ErrorKind::kUnsupported, "format code 'a' is not supported");
    case 'c':
      if (value.IsInteger()) return FormatSpec(run, value, "c");
      if (!value.Is(Kind::kString) || LengthOf(value.text()) != 1) {
        BadType("%c requires int or char");
      }
      body = value.text();
      break;
    case 'd':
    case 'i':
    case 'u':
      return PercentNumber(run, value, c, 'd');
    case 'x':
    case 'X':
    case 'o':
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return PercentNumber(run, value, c, type);
    default:
      BadValue(absl::StrCat("unsupported format character '", std::string(1, type), "'"));
  }
  if (c.precision >= 0 && type != 'c') {
    body = body.substr(0, ByteOffset(body, static_cast<size_t>(c.precision)));
  }
  return Justify(run, body, c.width, " ", c.left ? -1 : 1);
}

class Percent {
 public:
  Percent(Run& run, const std::string& text, const Value& values)
      : run_(run), text_(text), values_(values), tuple_(values.Is(Kind::kTuple)) {}

  std::string Format() {
    std::string out;
    while (i_ < text_.size()) {
      const size_t at = std::min(text_.find('%', i_), text_.size());
      out.append(text_, i_, at - i_);
      i_ = at;
      if (i_ >= text_.size()) break;
      ++i_;
      const std::string one = One();
      run_.Make(static_cast<int64_t>(one.size()));
      out += one;
    }
    // Whatever can be subscripted may be a mapping, of which not all need be used.
    const bool dict = values_.Is(Kind::kDict) || values_.Is(Kind::kList) ||
                      values_.Is(Kind::kRange) || values_.Is(Kind::kUndefined);
    if (tuple_ ? used_ < values_.items().size() : used_ == 0 && !dict) {
      BadType("not all arguments converted during string formatting");
    }
    return out;
  }

 private:
  char Peek() {
    if (i_ >= text_.size()) BadValue("incomplete format");
    return text_[i_];
  }

  Value Next() {
    const bool fits = tuple_ ? used_ < values_.items().size() : used_ == 0;
    if (!fits) BadType("not enough arguments for format string");
    return tuple_ ? values_.items()[used_++] : (++used_, values_);
  }

  int64_t NumberOrStar() {
    if (i_ < text_.size() && text_[i_] == '*') {
      ++i_;
      const Value value = Next();
      if (!value.IsInteger()) BadType("* wants int");
      return value.integer();
    }
    return i_ < text_.size() && IsDigitChar(text_[i_]) ? ReadNumber(text_, &i_) : -1;
  }

  std::string One() {
    const size_t begin = i_;
    std::optional<Value> named;
    if (Peek() == '(') {
      size_t depth = 1, end = i_ + 1;
      for (; end < text_.size() && depth > 0; ++end) {
        depth += text_[end] == '(' ? 1 : text_[end] == ')' ? -1 : 0;
      }
      if (depth > 0) BadValue("incomplete format key");
      if (!values_.Is(Kind::kDict)) BadType("format requires a mapping");
      const std::string key = text_.substr(i_ + 1, end - i_ - 2);
      const Value* found = values_.As<DictObject>().Find(std::string_view(key));
      if (found == nullptr) throw Error(ErrorKind::kLookup, Quoted(key));
      named = *found;
      i_ = end;
      ++used_;
    }
    Conversion c;
    for (;; ++i_) {
      const char flag = Peek();
      if (flag == '-') {
        c.left = true;
      } else if (flag == '0') {
        c.zero = true;
      } else if (flag == '#') {
        c.alternate = true;
      } else if (flag == '+' || (flag == ' ' && c.sign == 0)) {
        c.sign = flag;
      } else if (flag != ' ') {
        break;
      }
    }
    c.width = NumberOrStar();
    if (c.width < -1) {
      c.left = true;
      c.width = c.width == INT64_MIN ? INT64_MAX : -c.width;
    }
    if (Peek() == '.') {
      ++i_;
      c.precision = std::max<int64_t>(NumberOrStar(), 0);
    }
    while (Peek() == 'l' || Peek() == 'h' || Peek() == 'L') ++i_;
    const char type = Peek();
    ++i_;
    if (type == '%' && i_ == begin + 1) return "%";
    if (type == '%') BadType("not enough arguments for format string");
    return PercentOne(run_, named.has_value() ? *named : Next(), c, type);
  }

  Run& run_;
  const std::string& text_;
  const Value& values_;
  const bool tuple_;
  size_t i_ = 0, used_ = 0;
};

}  // namespace

std::string FormatPercent(Run& run, const std::string& text, const Value& values) {
  return Percent(run, text, values).Format();
}

}  // namespace fttrain::jinja
