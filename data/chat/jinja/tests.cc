#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

// A test of the value alone.
template <bool (*kTest)(const Value&)>
Value Alone(Run&, Arguments& args) {
  const Parameters p("test", args, {"value"}, 1);
  return Value::Bool(kTest(p[0]));
}

template <Kind kKind>
bool IsKind(const Value& value) {
  return value.Is(kKind);
}
bool IsDefined(const Value& value) { return !value.Is(Kind::kUndefined); }
bool IsTrue(const Value& value) { return value.Is(Kind::kBool) && value.boolean(); }
bool IsFalse(const Value& value) { return value.Is(Kind::kBool) && !value.boolean(); }
bool IsNumeric(const Value& value) { return value.IsNumber(); }
bool IsEscaped(const Value& value) { return value.markup(); }

bool IsSequence(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
      return true;
    default:
      return false;
  }
}

bool IsIterable(const Value& value) {
  return IsSequence(value) || value.Is(Kind::kView) || value.Is(Kind::kIterator) ||
         value.Is(Kind::kLoop);
}

bool IsCallable(const Value& value) {
  return value.Is(Kind::kFunction) || value.Is(Kind::kMacro) || value.Is(Kind::kLoop) ||
         value.Is(Kind::kUndefined);
}

bool IsFilterName(const Value& value) {
  Hash(value);  // as a key it must be one
  return value.Is(Kind::kString) && FindFilter(value.text()) != nullptr;
}
bool IsTestName(const Value& value) {
  Hash(value);
  return value.Is(Kind::kString) && FindTest(value.text()) != nullptr;
}

template <bool kUpper>
Value IsCase(Run& run, Arguments& args) {
  const Parameters p("test", args, {"value"}, 1);
  bool any = false;
  for (const char32_t c : CodePoints(Text(run, p[0]))) {
    if ((kUpper ? IsLower(c) : IsUpper(c)) || IsTitle(c)) return Value::Bool(false);
    any = any || (kUpper ? IsUpper(c) : IsLower(c));
  }
  return Value::Bool(any);
}

Value DivisibleBy(Run& run, Arguments& args) {
  const Parameters p("divisibleby", args, {"value", "num"}, 2);
  return Value::Bool(Equal(Apply(run, Operator::kModulo, p[0], p[1]), Value::Int(0)));
}
Value IsOdd(Run& run, Arguments& args) {
  const Parameters p("odd", args, {"value"}, 1);
  return Value::Bool(Equal(Apply(run, Operator::kModulo, p[0], Value::Int(2)), Value::Int(1)));
}
Value IsEven(Run& run, Arguments& args) {
  const Parameters p("even", args, {"value"}, 1);
  return Value::Bool(Equal(Apply(run, Operator::kModulo, p[0], Value::Int(2)), Value::Int(0)));
}

// The same object, not an equal one. What Python makes once only (small integers, constants of one
// template) cannot be told from what it makes twice: equal numbers and strings are the same here.
Value IsSameAs(Run&, Arguments& args) {
  const Parameters p("sameas", args, {"value", "other"}, 2);
  const Value &a = p[0], &b = p[1];
  if (a.kind() != b.kind()) return Value::Bool(false);
  if (a.object() != nullptr && !a.Is(Kind::kString)) return Value::Bool(a.object() == b.object());
  return Value::Bool(Equal(a, b));
}

Value IsIn(Run& run, Arguments& args) {
  const Parameters p("in", args, {"value", "seq"}, 2);
  return Value::Bool(Contains(run, p[1], p[0]));
}

enum class Order { kEq, kNe, kLt, kLe, kGt, kGe };
template <Order kOrder>
Value Compares(Run& run, Arguments& args) {
  const Parameters p("comparison", args, {"a", "b"}, 2, 2);
  if (kOrder == Order::kEq) return Value::Bool(Equal(run, p[0], p[1]));
  if (kOrder == Order::kNe) return Value::Bool(!Equal(run, p[0], p[1]));
  static constexpr const char* kNames[] = {"==", "!=", "<", "<=", ">", ">="};
  const int order = Compare(run, p[0], p[1], kNames[static_cast<int>(kOrder)]);
  return Value::Bool(order != kUnordered && (kOrder == Order::kLt   ? order < 0
                                             : kOrder == Order::kLe ? order <= 0
                                             : kOrder == Order::kGt ? order > 0
                                                                    : order >= 0));
}

}  // namespace

Builtin FindTest(const std::string& name) {
  static const std::map<std::string, Builtin> tests = {
      {"odd", IsOdd},
      {"even", IsEven},
      {"divisibleby", DivisibleBy},
      {"defined", Alone<IsDefined>},
      {"undefined", Alone<IsKind<Kind::kUndefined>>},
      {"filter", Alone<IsFilterName>},
      {"test", Alone<IsTestName>},
      {"none", Alone<IsKind<Kind::kNone>>},
      {"boolean", Alone<IsKind<Kind::kBool>>},
      {"false", Alone<IsFalse>},
      {"true", Alone<IsTrue>},
      {"integer", Alone<IsKind<Kind::kInt>>},
      {"float", Alone<IsKind<Kind::kFloat>>},
      {"lower", IsCase<false>},
      {"upper", IsCase<true>},
      {"string", Alone<IsKind<Kind::kString>>},
      {"mapping", Alone<IsKind<Kind::kDict>>},
      {"number", Alone<IsNumeric>},
      {"sequence", Alone<IsSequence>},
      {"iterable", Alone<IsIterable>},
      {"callable", Alone<IsCallable>},
      {"sameas", IsSameAs},
      {"escaped", Alone<IsEscaped>},
      {"in", IsIn},
      {"==", Compares<Order::kEq>},
      {"eq", Compares<Order::kEq>},
      {"equalto", Compares<Order::kEq>},
      {"!=", Compares<Order::kNe>},
      {"ne", Compares<Order::kNe>},
      {">", Compares<Order::kGt>},
      {"gt", Compares<Order::kGt>},
      {"greaterthan", Compares<Order::kGt>},
      {"ge", Compares<Order::kGe>},
      {">=", Compares<Order::kGe>},
      {"<", Compares<Order::kLt>},
      {"lt", Compares<Order::kLt>},
      {"lessthan", Compares<Order::kLt>},
      {"<=", Compares<Order::kLe>},
      {"le", Compares<Order::kLe>},
  };
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

bool CallTest(Run& run, const std::string& name, Arguments& args) {
  const Builtin test = FindTest(name);
  if (test == nullptr) {
    throw Error(ErrorKind::kRuntime, absl::StrCat("No test named ", Quoted(name), "."));
  }
  return Truth(test(run, args));
}

}  // namespace fttrain::jinja
