#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/loop.h"
#include "data/chat/jinja/macro.h"
#include "data/chat/jinja/methods.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

// Jinja's words for what a lookup was tried on.
std::string Described(const Value& object) {
  if (object.Is(Kind::kNone)) return "None";
  if (object.Is(Kind::kNamespace)) return "jinja2.utils.Namespace object";
  return TypeName(object) + " object";
}

Value Missing(Run& run, const Value& object, const Value& name) {
  return Undefined(
      name.Is(Kind::kString)
          ? absl::StrCat("'", Described(object), "' has no attribute ", Quoted(name.text()))
          : absl::StrCat(Described(object), " has no element ", Repr(run, name)));
}

Value Unsafe(const Value& object, const std::string& name) {
  return Undefined(absl::StrCat("access to attribute ", Quoted(name), " of '", TypeName(object),
                                "' object is unsafe."),
                   ErrorKind::kSecurity);
}

// object[item] as Python does it; nullopt for its TypeError and LookupError.
std::optional<Value> Subscript(Run& run, const Value& object, const Value& item) {
  if (object.Is(Kind::kUndefined)) FailUndefined(object);
  if (object.Is(Kind::kDict)) {
    try {
      const Value* found = object.As<DictObject>().Find(item);
      return found == nullptr ? std::nullopt : std::optional<Value>(*found);
    } catch (const Error& error) {
      if (error.kind == ErrorKind::kType) return std::nullopt;
      throw;
    }
  }
  const bool sequence = object.Is(Kind::kString) || object.Is(Kind::kList) ||
                        object.Is(Kind::kTuple) || object.Is(Kind::kRange);
  if (!sequence || !item.IsInteger()) return std::nullopt;
  const int64_t length = Length(run, object), at = item.integer();
  const int64_t i = at < 0 ? at + length : at;
  if (i < 0 || i >= length) return std::nullopt;
  if (object.Is(Kind::kRange)) return object.As<RangeObject>().At(i);
  if (!object.Is(Kind::kString)) return object.items()[static_cast<size_t>(i)];
  const std::string& text = object.text();
  const size_t begin = ByteOffset(text, static_cast<size_t>(i));
  return Value::String(text.substr(begin, ByteOffset(std::string_view(text).substr(begin), 1)),
                       object.markup());
}

std::optional<Value> Named(Run& run, const Value& object, const std::string& name);

// What every Python object has; all of it is behind the sandbox.
bool IsInternal(const std::string& name) {
  static const std::set<std::string> names = {
      "__class__",        "__doc__",          "__init__",
      "__dir__",          "__eq__",           "__ne__",
      "__hash__",         "__repr__",         "__str__",
      "__getattribute__", "__setattr__",      "__delattr__",
      "__reduce__",       "__reduce_ex__",    "__new__",
      "__sizeof__",       "__subclasshook__", "__init_subclass__",
      "__format__",       "__lt__",           "__le__",
      "__gt__",           "__ge__",           "__getstate__"};
  return name.starts_with("__") && names.count(name) > 0;
}

// getattr(object, name), the sandbox's rules applied; nullopt for AttributeError.
std::optional<Value> Attribute(Run& run, const Value& object, const std::string& name) {
  if (object.Is(Kind::kUndefined)) FailUndefined(object);
  if (object.Is(Kind::kNamespace)) {
    const Value* found = object.As<NamespaceObject>().attributes->Find(std::string_view(name));
    return found == nullptr ? std::nullopt : std::optional<Value>(*found);
  }
  if (IsInternal(name) || IsMutator(object, name)) return Unsafe(object, name);
  return Named(run, object, name);
}

std::optional<Value> Named(Run& run, const Value& object, const std::string& name) {
  switch (object.kind()) {
    case Kind::kLoop:
      return LoopAttribute(run, object, name);
    case Kind::kMacro:
      return MacroAttribute(object, name);
    case Kind::kTuple:
      if (object.As<ListObject>().group && name == "grouper") return object.items()[0];
      if (object.As<ListObject>().group && name == "list") return object.items()[1];
      break;
    case Kind::kRange: {
      const auto& range = object.As<RangeObject>();
      if (name == "start") return Value::Int(range.start);
      if (name == "stop") return Value::Int(range.stop);
      if (name == "step") return Value::Int(range.step);
      break;
    }
    case Kind::kBool:
    case Kind::kInt:
      if (name == "real" || name == "numerator") return Value::Int(object.integer());
      if (name == "imag") return Value::Int(0);
      if (name == "denominator") return Value::Int(1);
      break;
    case Kind::kFloat:
      if (name == "real") return object;
      if (name == "imag") return Value::Float(0);
      break;
    case Kind::kCycler: {
      const auto& cycler = object.As<CyclerObject>();
      if (name == "current") return cycler.items[cycler.position];
      if (name == "pos") return Value::Int(static_cast<int64_t>(cycler.position));
      if (name == "items") return Value::Tuple(cycler.items);
      break;
    }
    default:
      break;
  }
  return MethodOf(object, name);
}

}  // namespace

Value GetItem(Run& run, const Value& object, const Value& item) {
  run.Step(1 + item.weight() / 16);
  std::optional<Value> found = Subscript(run, object, item);
  if (!found.has_value() && item.Is(Kind::kString)) found = Attribute(run, object, item.text());
  return found.has_value() ? *std::move(found) : Missing(run, object, item);
}

Value GetAttribute(Run& run, const Value& object, const std::string& name) {
  run.Step();
  if (object.Is(Kind::kDict) && !IsDictMethod(name) && !IsInternal(name)) {  // the usual case, fast
    const Value* found = object.As<DictObject>().Find(std::string_view(name));
    return found != nullptr ? *found : Missing(run, object, Value::String(name));
  }
  std::optional<Value> found = Attribute(run, object, name);
  if (found.has_value()) return *std::move(found);
  const Value key = Value::String(name);
  found = Subscript(run, object, key);
  return found.has_value() ? *std::move(found) : Missing(run, object, key);
}

Value GetAttributeOnly(Run& run, const Value& object, const std::string& name) {
  std::optional<Value> found = Attribute(run, object, name);
  return found.has_value() ? *std::move(found) : Missing(run, object, Value::String(name));
}

namespace {

struct Bounds {
  int64_t start, stop, step, length;  // of the items taken
};

// slice.indices() of Python.
Bounds Resolve(const SliceObject& slice, int64_t length) {
  const auto part = [](const Value& value, int64_t absent) {
    if (value.Is(Kind::kUndefined)) FailUndefined(value);
    if (value.Is(Kind::kNone)) return absent;
    if (!value.IsInteger()) {
      throw Error(ErrorKind::kType,
                  "slice indices must be integers or None or have an __index__ method");
    }
    return value.integer();
  };
  const int64_t step = std::max<int64_t>(part(slice.step, 1), -INT64_MAX);
  if (step == 0) throw Error(ErrorKind::kValue, "slice step cannot be zero");
  const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? length - 1 : length;
  const auto clip = [&](int64_t i) {
    if (i < 0) return std::max(i + length, low);
    return std::min(i, high);
  };
  const int64_t none = INT64_MIN;
  int64_t start = part(slice.start, none), stop = part(slice.stop, none);
  start = slice.start.Is(Kind::kNone) ? (step < 0 ? high : low) : clip(start);
  stop = slice.stop.Is(Kind::kNone) ? (step < 0 ? low : high) : clip(stop);
  const int64_t span = step < 0 ? start - stop : stop - start;
  const int64_t stride = step < 0 ? -step : step;
  return {start, stop, step, span <= 0 ? 0 : (span - 1) / stride + 1};
}

}  // namespace

Value GetSlice(Run& run, const Value& object, const SliceObject& slice) {
  run.Step();
  if (object.Is(Kind::kUndefined)) FailUndefined(object);
  const bool sequence = object.Is(Kind::kString) || object.Is(Kind::kList) ||
                        object.Is(Kind::kTuple) || object.Is(Kind::kRange);
  if (!sequence) {
    throw Error(ErrorKind::kType,
                object.Is(Kind::kDict)
                    ? "unhashable type: 'slice'"
                    : absl::StrCat("'", TypeName(object), "' object is not subscriptable"));
  }
  const Bounds bounds = Resolve(slice, Length(run, object));
  if (object.Is(Kind::kRange)) {
    const auto& range = object.As<RangeObject>();
    auto out = std::make_shared<RangeObject>();
    // In 128 bits: what does not fit is never reached by an item.
    const auto clip = [](__int128 value) {
      return static_cast<int64_t>(std::clamp<__int128>(value, INT64_MIN, INT64_MAX));
    };
    const __int128 start = range.start, step = range.step;
    out->start = clip(start + bounds.start * step);
    out->stop = clip(start + bounds.stop * step);
    out->step = clip(step * bounds.step);
    return Value::Of(Kind::kRange, std::move(out));
  }
  run.Step(bounds.length / 16);
  if (object.Is(Kind::kString)) {
    run.Make(static_cast<int64_t>(object.text().size()));
    if (bounds.step == 1) {
      const std::string_view text = object.text();
      const size_t begin = ByteOffset(text, static_cast<size_t>(bounds.start));
      const std::string_view rest = text.substr(begin);
      return Value::String(
          std::string(rest.substr(0, ByteOffset(rest, static_cast<size_t>(bounds.length)))),
          object.markup());
    }
    const std::u32string text = CodePoints(object.text());
    std::u32string out;
    for (int64_t i = 0; i < bounds.length; ++i) {
      out += text[static_cast<size_t>(bounds.start + i * bounds.step)];
    }
    return Value::String(Utf8(out), object.markup());
  }
  run.Make(bounds.length * static_cast<int64_t>(sizeof(Value)));
  std::vector<Value> out;
  for (int64_t i = 0; i < bounds.length; ++i) {
    out.push_back(object.items()[static_cast<size_t>(bounds.start + i * bounds.step)]);
  }
  return object.Is(Kind::kList) ? Value::List(std::move(out)) : Value::Tuple(std::move(out));
}

}  // namespace fttrain::jinja
