#include "data/chat/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace fttrain::jinja {
namespace {

void NeedDefined(const Value& value) {
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
}

bool EqualLists(const std::vector<Value>& a, const std::vector<Value>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Value& x, const Value& y) { return Equal(x, y); });
}

bool EqualDicts(const DictObject& a, const DictObject& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.Find(entry.first);
    return other != nullptr && Equal(entry.second, *other);
  });
}

bool EqualRanges(const RangeObject& a, const RangeObject& b) {
  const int64_t length = a.Length();
  if (length != b.Length()) return false;
  if (length == 0) return true;
  return a.start == b.start && (length == 1 || a.step == b.step);
}

bool EqualViews(const ViewObject& a, const ViewObject& b) {
  if (a.what == ViewObject::kValues || b.what == ViewObject::kValues) return &a == &b;
  if (a.dict->entries.size() != b.dict->entries.size() || a.what != b.what) return false;
  return a.what == ViewObject::kItems
             ? EqualDicts(*a.dict, *b.dict)
             : std::all_of(a.dict->entries.begin(), a.dict->entries.end(),
                           [&](const auto& e) { return b.dict->Find(e.first) != nullptr; });
}

size_t HashNumber(const Value& value) {
  // Equal numbers hash alike, whatever their type.
  if (value.IsInteger()) return std::hash<int64_t>()(value.integer());
  const double real = value.real();
  if (std::floor(real) == real && std::fabs(real) < 9.2e18) {
    return std::hash<int64_t>()(static_cast<int64_t>(real));
  }
  return std::hash<double>()(real);
}

template <typename T>
int Sign(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

}  // namespace

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.items().empty();
    case Kind::kDict:
      return !value.As<DictObject>().entries.empty();
    case Kind::kRange:
      return value.As<RangeObject>().Length() > 0;
    case Kind::kView:
      return !value.As<ViewObject>().dict->entries.empty();
    default:
      return true;  // a loop has at least the item it stands on
  }
}

bool Equal(const Value& a, const Value& b) {
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsInteger() && b.IsInteger()) return a.integer() == b.integer();
    const auto real = [](const Value& v) {  // exact for both
      return v.IsInteger() ? static_cast<long double>(v.integer())
                           : static_cast<long double>(v.real());
    };
    return real(a) == real(b);
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return a.object() == b.object() || EqualLists(a.items(), b.items());
    case Kind::kDict:
      return a.object() == b.object() || EqualDicts(a.As<DictObject>(), b.As<DictObject>());
    case Kind::kRange:
      return EqualRanges(a.As<RangeObject>(), b.As<RangeObject>());
    case Kind::kView:
      return EqualViews(a.As<ViewObject>(), b.As<ViewObject>());
    default:
      return a.object() == b.object();
  }
}

bool Equal(Run& run, const Value& a, const Value& b) {
  run.Step(std::min(a.weight(), b.weight()) / 16);
  return Equal(a, b);
}

size_t Hash(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return static_cast<size_t>(value.kind()) + 77;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return HashNumber(value);
    case Kind::kString:
      return std::hash<std::string_view>()(value.text());
    case Kind::kTuple: {
      size_t hash = value.items().size();
      for (const Value& item : value.items()) hash = hash * 1000003 + Hash(item);
      return hash;
    }
    case Kind::kList:
    case Kind::kDict:
    case Kind::kSlice:
    case Kind::kView:
      throw Error(ErrorKind::kType, absl::StrCat("unhashable type: '", TypeName(value), "'"));
    case Kind::kRange:
      return static_cast<size_t>(value.As<RangeObject>().Length());
    default:
      return std::hash<const void*>()(value.object().get());
  }
}

int Compare(Run& run, const Value& a, const Value& b, std::string_view op) {
  run.Step();
  NeedDefined(a);
  NeedDefined(b);
  if (a.IsNumber() && b.IsNumber()) {
    if (a.IsInteger() && b.IsInteger()) return Sign(a.integer(), b.integer());
    const auto real = [](const Value& v) {
      return v.IsInteger() ? static_cast<long double>(v.integer())
                           : static_cast<long double>(v.real());
    };
    if (std::isnan(a.real()) || std::isnan(b.real())) return kUnordered;
    return Sign(real(a), real(b));
  }
  if (a.Is(Kind::kString) && b.Is(Kind::kString)) {
    run.Step(static_cast<int64_t>(std::min(a.text().size(), b.text().size()) / 64));
    return Sign(a.text(), b.text());
  }
  if (a.kind() == b.kind() && (a.Is(Kind::kList) || a.Is(Kind::kTuple))) {
    const auto &left = a.items(), &right = b.items();
    for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
      run.Step();
      if (!Equal(run, left[i], right[i])) return Compare(run, left[i], right[i], op);
    }
    return Sign(left.size(), right.size());
  }
  throw Error(ErrorKind::kType,
              absl::StrCat("'", std::string(op), "' not supported between instances of '",
                           TypeName(a), "' and '", TypeName(b), "'"));
}

bool Contains(Run& run, const Value& container, const Value& item) {
  const bool listed = container.Is(Kind::kList) || container.Is(Kind::kTuple);
  if (listed && container.depth() < kMaxValueDepth) {  // as below, without an iterator
    return std::any_of(container.items().begin(), container.items().end(), [&](const Value& other) {
      run.Step();
      return Equal(run, other, item);
    });
  }
  switch (container.kind()) {
    case Kind::kString:
      if (!item.Is(Kind::kString)) {
        throw Error(
            ErrorKind::kType,
            absl::StrCat("'in <string>' requires string as left operand, not ", TypeName(item)));
      }
      run.Step(static_cast<int64_t>(container.text().size() / 64));
      return container.text().find(item.text()) != std::string::npos;
    case Kind::kDict:
      run.Step(item.weight() / 16);
      return container.As<DictObject>().Find(item) != nullptr;
    case Kind::kView:
      run.Step(item.weight() / 16);
      if (container.As<ViewObject>().what == ViewObject::kKeys) {
        return container.As<ViewObject>().dict->Find(item) != nullptr;
      }
      [[fallthrough]];
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kIterator:
    case Kind::kUndefined: {
      const auto items = Iterate(run, container);
      for (Value other; items->next(run, &other);) {
        if (Equal(run, other, item)) return true;
      }
      return false;
    }
    default:
      throw Error(ErrorKind::kType,
                  absl::StrCat("argument of type '", TypeName(container), "' is not iterable"));
  }
}

}  // namespace fttrain::jinja
