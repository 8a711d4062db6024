#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/format.h"
#include "data/chat/jinja/markup.h"
#include "data/chat/jinja/operators.h"

namespace fttrain::jinja {
namespace {

const char* SymbolOf(Operator op) {
  static constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  return kSymbols[static_cast<int>(op)];
}

[[noreturn]] void TooLarge() {
  throw Error(ErrorKind::kUnsupported, "integers beyond 64 bits are not supported");
}
[[noreturn]] void ByZero(const char* what) { throw Error(ErrorKind::kArithmetic, what); }

int64_t FloorDivide(int64_t a, int64_t b) {
  if (b == 0) ByZero("integer division or modulo by zero");
  if (b == -1) {
    if (a == INT64_MIN) TooLarge();
    return -a;
  }
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t Modulo(int64_t a, int64_t b) {
  if (b == 0) ByZero("integer division or modulo by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

int64_t Power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) TooLarge();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) TooLarge();
  }
  return result;
}

Value Integers(Operator op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &out)) TooLarge();
      return Value::Int(out);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &out)) TooLarge();
      return Value::Int(out);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &out)) TooLarge();
      return Value::Int(out);
    case Operator::kDivide:
      if (b == 0) ByZero("division by zero");
      return Value::Float(
          static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
    case Operator::kFloorDivide:
      return Value::Int(FloorDivide(a, b));
    case Operator::kModulo:
      return Value::Int(Modulo(a, b));
    case Operator::kPower:
      if (b >= 0) return Value::Int(Power(a, b));
      if (a == 0) ByZero("0.0 cannot be raised to a negative power");
      return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  return {};
}

double FloatPower(double a, double b) {
  if (a == 0 && b < 0) ByZero("0.0 cannot be raised to a negative power");
  if (a < 0 && std::isfinite(a) && std::isfinite(b) && std::floor(b) != b) {
    throw Error(ErrorKind::kUnsupported, "complex numbers are not supported");
  }
  const double power = std::pow(a, b);
  if (std::isinf(power) && std::isfinite(a) && std::isfinite(b)) {
    throw Error(ErrorKind::kArithmetic, "(34, 'Numerical result out of range')");
  }
  return power;
}

// The pair of divmod(), with the signs that Python gives them.
std::pair<double, double> DivideFloats(double a, double b) {
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest != 0) {
    if ((b < 0) != (rest < 0)) {
      rest += b;
      quotient -= 1;
    }
  } else {
    rest = std::copysign(0.0, b);
  }
  if (quotient == 0) return {std::copysign(0.0, a / b), rest};
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1;
  return {whole, rest};
}

Value Floats(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::Float(a + b);
    case Operator::kSubtract:
      return Value::Float(a - b);
    case Operator::kMultiply:
      return Value::Float(a * b);
    case Operator::kDivide:
      if (b == 0) ByZero("float division by zero");
      return Value::Float(a / b);
    case Operator::kFloorDivide:
      if (b == 0) ByZero("float floor division by zero");
      return Value::Float(DivideFloats(a, b).first);
    case Operator::kModulo:
      if (b == 0) ByZero("float modulo");
      return Value::Float(DivideFloats(a, b).second);
    case Operator::kPower:
      return Value::Float(FloatPower(a, b));
  }
  return {};
}

bool IsSequence(const Value& value) {
  return value.Is(Kind::kString) || value.Is(Kind::kList) || value.Is(Kind::kTuple);
}

Value Repeat(Run& run, const Value& sequence, int64_t times) {
  times = std::max<int64_t>(times, 0);
  const bool text = sequence.Is(Kind::kString);
  const size_t size = text ? sequence.text().size() : sequence.items().size() * sizeof(Value);
  if (size == 0) times = 0;
  if (size > 0 && times > run.max_output() / static_cast<int64_t>(size)) times = INT64_MAX;
  run.Make(times == INT64_MAX ? times : times * static_cast<int64_t>(size));
  if (text) {
    std::string out;
    for (; times > 0; --times) out += sequence.text();
    return Value::String(std::move(out), sequence.markup());
  }
  std::vector<Value> out;
  for (; times > 0; --times) {
    out.insert(out.end(), sequence.items().begin(), sequence.items().end());
  }
  return sequence.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
}

Value Concatenate(Run& run, const Value& a, const Value& b) {
  if (a.Is(Kind::kString)) {
    run.Make(static_cast<int64_t>(a.text().size() + b.text().size()));
    if (!a.markup() && !b.markup()) return Value::String(a.text() + b.text());
    const std::string left = a.markup() ? a.text() : Escape(a.text());
    return Value::String(left + (b.markup() ? b.text() : Escape(b.text())), true);
  }
  run.Make(static_cast<int64_t>((a.items().size() + b.items().size()) * sizeof(Value)));
  std::vector<Value> out = a.items();
  out.insert(out.end(), b.items().begin(), b.items().end());
  return a.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
}

}  // namespace

Value Apply(Run& run, Operator op, const Value& a, const Value& b) {
  run.Step();
  // 'text' % undefined formats; everything else with an undefined side raises.
  if (op == Operator::kModulo && a.Is(Kind::kString)) {
    if (a.markup()) throw Error(ErrorKind::kUnsupported, "% on Markup is not supported");
    return Value::String(FormatPercent(run, a.text(), b));
  }
  if (a.Is(Kind::kUndefined)) FailUndefined(a);
  if (b.Is(Kind::kUndefined)) FailUndefined(b);
  if (a.IsNumber() && b.IsNumber()) {
    return a.IsInteger() && b.IsInteger() ? Integers(op, a.integer(), b.integer())
                                          : Floats(op, a.real(), b.real());
  }
  if (op == Operator::kAdd && a.kind() == b.kind() && IsSequence(a)) return Concatenate(run, a, b);
  if (op == Operator::kMultiply && IsSequence(a) && b.IsInteger()) {
    return Repeat(run, a, b.integer());
  }
  if (op == Operator::kMultiply && a.IsInteger() && IsSequence(b)) {
    return Repeat(run, b, a.integer());
  }
  if (op == Operator::kSubtract && a.Is(Kind::kView)) {
    throw Error(ErrorKind::kUnsupported, "sets are not supported");
  }
  throw Error(ErrorKind::kType, absl::StrCat("unsupported operand type(s) for ", SymbolOf(op),
                                             ": '", TypeName(a), "' and '", TypeName(b), "'"));
}

Value Negative(const Value& value) {
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (value.Is(Kind::kFloat)) return Value::Float(-value.real());
  if (value.IsInteger()) {
    if (value.integer() == INT64_MIN) TooLarge();
    return Value::Int(-value.integer());
  }
  throw Error(ErrorKind::kType,
              absl::StrCat("bad operand type for unary -: '", TypeName(value), "'"));
}

Value Positive(const Value& value) {
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (value.Is(Kind::kFloat)) return value;
  if (value.IsInteger()) return Value::Int(value.integer());
  throw Error(ErrorKind::kType,
              absl::StrCat("bad operand type for unary +: '", TypeName(value), "'"));
}

}  // namespace fttrain::jinja
