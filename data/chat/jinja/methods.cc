#include "data/chat/jinja/methods.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/operators.h"

namespace fttrain::jinja {

Parameters::Parameters(std::string_view function, const Arguments& args,
                       std::initializer_list<const char*> names, size_t required,
                       size_t by_position)
    : function_(function), values_(names.size()) {
  if (args.positional.size() > names.size()) {
    throw Error(ErrorKind::kType, absl::StrCat(function_, "() takes at most ", names.size(),
                                               " arguments (", args.positional.size(), " given)"));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto found = std::find(names.begin() + by_position, names.end(), std::string_view(name));
    if (found == names.end()) {
      throw Error(ErrorKind::kType,
                  absl::StrCat(function_, "() got an unexpected keyword argument '", name, "'"));
    }
    auto& slot = values_[static_cast<size_t>(found - names.begin())];
    if (slot.has_value()) {
      throw Error(ErrorKind::kType,
                  absl::StrCat(function_, "() got multiple values for argument '", name, "'"));
    }
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i].has_value()) continue;
    throw Error(ErrorKind::kType, absl::StrCat(function_, "() missing a required argument: '",
                                               *(names.begin() + i), "'"));
  }
}

int64_t Parameters::Int(size_t i, int64_t absent) const {
  return Has(i) ? Index(*values_[i]) : absent;
}
bool Parameters::Flag(size_t i, bool absent) const { return Has(i) ? Truth(*values_[i]) : absent; }

const std::string& Parameters::String(size_t i) const {
  if (!values_[i]->Is(Kind::kString)) {
    throw Error(ErrorKind::kType, absl::StrCat(function_, "() argument ", i + 1,
                                               " must be str, not ", TypeName(*values_[i])));
  }
  return values_[i]->text();
}

void TakesNothing(std::string_view function, const Arguments& args) {
  Parameters(function, args, {}, 0);
}

namespace {

using Method = Value (*)(Run&, const Value&, Arguments&);

// "append" in names of one type.
bool OneOf(const std::string& name, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* n) { return name == n; });
}

Value Bound(const Value& object, const std::string& name, Method method) {
  return Function(
      name, [object, method](Run& run, Arguments& args) { return method(run, object, args); },
      object.depth());
}

[[noreturn]] void Unsupported(const Value& object, const std::string& name) {
  throw Error(ErrorKind::kUnsupported,
              absl::StrCat("'", TypeName(object), ".", name, "' is not supported"));
}

Value View(ViewObject::What what, const Value& dict, const char* name, const Arguments& args) {
  TakesNothing(name, args);
  auto view = std::make_shared<ViewObject>();
  view->what = what;
  view->dict = std::static_pointer_cast<DictObject>(dict.object());
  view->depth = dict.depth();
  view->weight = dict.weight();
  return Value::Of(Kind::kView, std::move(view));
}

std::optional<Value> DictMethod(const Value& dict, const std::string& name) {
  if (name == "items") {
    return Bound(dict, name, [](Run&, const Value& self, Arguments& args) {
      return View(ViewObject::kItems, self, "items", args);
    });
  }
  if (name == "keys") {
    return Bound(dict, name, [](Run&, const Value& self, Arguments& args) {
      return View(ViewObject::kKeys, self, "keys", args);
    });
  }
  if (name == "values") {
    return Bound(dict, name, [](Run&, const Value& self, Arguments& args) {
      return View(ViewObject::kValues, self, "values", args);
    });
  }
  if (name == "get") {
    return Bound(dict, name, [](Run& run, const Value& self, Arguments& args) {
      const Parameters p("get", args, {"key", "default"}, 1, 2);
      run.Step(p[0].weight() / 16);
      const Value* found = self.As<DictObject>().Find(p[0]);
      return found != nullptr ? *found : p.Or(1, Value::None());
    });
  }
  if (name == "copy") {
    return Bound(dict, name, [](Run& run, const Value& self, Arguments& args) {
      TakesNothing("copy", args);
      auto copy = std::make_shared<DictObject>();
      for (const auto& [key, value] : self.As<DictObject>().entries) {
        run.Make(static_cast<int64_t>(2 * sizeof(Value)));
        run.Step(key.weight() / 16);
        copy->Set(key, value);
      }
      return Dict(std::move(copy));
    });
  }
  if (name == "fromkeys") Unsupported(dict, name);
  return std::nullopt;
}

Value CountOf(Run& run, const Value& self, Arguments& args) {
  const Parameters p("count", args, {"value"}, 1, 1);
  int64_t count = 0;
  for (const Value& item : ItemsOf(run, self)) count += Equal(run, item, p[0]) ? 1 : 0;
  return Value::Int(count);
}

Value IndexOf(Run& run, const Value& self, Arguments& args) {
  const Parameters p("index", args, {"value", "start", "stop"}, 1, 3);
  const std::vector<Value> items = ItemsOf(run, self);
  const auto size = static_cast<int64_t>(items.size());
  const auto clip = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  for (int64_t i = clip(p.Int(1, 0)), end = clip(p.Int(2, size)); i < end; ++i) {
    if (Equal(run, items[static_cast<size_t>(i)], p[0])) return Value::Int(i);
  }
  throw Error(ErrorKind::kValue, absl::StrCat(Repr(run, p[0]), " is not in ", TypeName(self)));
}

std::optional<Value> SequenceMethod(const Value& sequence, const std::string& name) {
  if (name == "count") return Bound(sequence, name, CountOf);
  if (name == "index") return Bound(sequence, name, IndexOf);
  if (name == "copy" && sequence.Is(Kind::kList)) {
    return Bound(sequence, name, [](Run& run, const Value& self, Arguments& args) {
      TakesNothing("copy", args);
      return Value::List(ItemsOf(run, self));
    });
  }
  return std::nullopt;
}

std::optional<Value> NumberMethod(const Value& number, const std::string& name) {
  if (number.Is(Kind::kFloat) && name == "is_integer") {
    return Bound(number, name, [](Run&, const Value& self, Arguments& args) {
      TakesNothing("is_integer", args);
      return Value::Bool(std::isfinite(self.real()) && std::floor(self.real()) == self.real());
    });
  }
  if (number.IsInteger() && name == "bit_length") {
    return Bound(number, name, [](Run&, const Value& self, Arguments& args) {
      TakesNothing("bit_length", args);
      int64_t bits = 0;
      for (auto n =
               static_cast<uint64_t>(self.integer() < 0 ? -(self.integer() + 1) : self.integer());
           n > 0; n >>= 1) {
        ++bits;
      }
      // -n - 1 above has the bits of n but for powers of two.
      const int64_t i = self.integer();
      const bool power = i < 0 && i != INT64_MIN && ((-i) & (-i - 1)) == 0;
      return Value::Int(i == INT64_MIN ? 64 : bits + (power ? 1 : 0));
    });
  }
  if (OneOf(name, {"as_integer_ratio", "conjugate", "hex", "fromhex", "to_bytes", "from_bytes",
                   "bit_count"})) {
    Unsupported(number, name);
  }
  return std::nullopt;
}

std::optional<Value> CyclerMethod(const Value& cycler, const std::string& name) {
  if (name == "next") {
    return Bound(cycler, name, [](Run&, const Value& self, Arguments& args) {
      TakesNothing("next", args);
      auto& object = self.As<CyclerObject>();
      const Value now = object.items[object.position];
      object.position = (object.position + 1) % object.items.size();
      return now;
    });
  }
  if (name == "reset") {
    return Bound(cycler, name, [](Run&, const Value& self, Arguments& args) {
      TakesNothing("reset", args);
      self.As<CyclerObject>().position = 0;
      return Value::None();
    });
  }
  return std::nullopt;
}

Value FromKeys(Run& run, Arguments& args) {
  const Parameters p("fromkeys", args, {"iterable", "value"}, 1, 2);
  auto dict = std::make_shared<DictObject>();
  for (const Value& key : ItemsOf(run, p[0])) {
    run.Step(key.weight() / 16);
    dict->Set(key, p.Or(1, Value::None()));
  }
  return Dict(std::move(dict));
}

}  // namespace

bool IsMutator(const Value& object, const std::string& name) {
  if (object.Is(Kind::kDict)) {
    return OneOf(name, {"clear", "pop", "popitem", "setdefault", "update"});
  }
  return object.Is(Kind::kList) &&
         OneOf(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
}

bool IsDictMethod(const std::string& name) {
  return OneOf(name, {"items", "keys", "values", "get", "copy", "fromkeys", "clear", "pop",
                      "popitem", "setdefault", "update"});
}

std::optional<Value> MethodOf(const Value& object, const std::string& name) {
  switch (object.kind()) {
    case Kind::kString:
      return StringMethod(object, name);
    case Kind::kDict:
      return DictMethod(object, name);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      return SequenceMethod(object, name);
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return NumberMethod(object, name);
    case Kind::kCycler:
      return CyclerMethod(object, name);
    case Kind::kView:
      if (OneOf(name, {"isdisjoint", "mapping"})) Unsupported(object, name);
      return std::nullopt;
    case Kind::kIterator:
      if (OneOf(name, {"send", "throw", "close", "gi_running", "gi_yieldfrom"})) {
        Unsupported(object, name);
      }
      return std::nullopt;
    case Kind::kFunction:
      if (object.As<FunctionObject>().is_class && name == "fromkeys") {
        return Function(name, FromKeys);
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace fttrain::jinja
