#include "absl/strings/str_cat.h"
#include "data/chat/jinja/loop.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {

int64_t LengthOrNone(Run& run, const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      run.Step(static_cast<int64_t>(value.text().size() / 64));
      return static_cast<int64_t>(LengthOf(value.text()));
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(value.items().size());
    case Kind::kDict:
      return static_cast<int64_t>(value.As<DictObject>().entries.size());
    case Kind::kView:
      return static_cast<int64_t>(value.As<ViewObject>().dict->entries.size());
    case Kind::kRange:
      return value.As<RangeObject>().Length();
    case Kind::kLoop:
      return value.As<LoopObject>().Length(run);
    default:
      return -1;
  }
}

int64_t Length(Run& run, const Value& value) {
  const int64_t length = LengthOrNone(run, value);
  if (length >= 0) return length;
  throw Error(ErrorKind::kType,
              absl::StrCat("object of type '", TypeName(value), "' has no len()"));
}

int64_t Index(const Value& value) {
  if (value.Is(Kind::kUndefined)) FailUndefined(value);
  if (value.IsInteger()) return value.integer();
  throw Error(ErrorKind::kType,
              absl::StrCat("'", TypeName(value), "' object cannot be interpreted as an integer"));
}

Value Iterator(std::function<bool(Run&, Value*)> next, int depth_inside, const char* name) {
  auto object = std::make_shared<IteratorObject>();
  object->depth = depth_inside + 1;
  if (object->depth > kMaxValueDepth) {
    throw Error(ErrorKind::kLimit, "iterators are nested too deeply");
  }
  object->next = std::move(next);
  object->name = name;
  return Value::Of(Kind::kIterator, std::move(object));
}

std::shared_ptr<IteratorObject> Iterate(Run& run, const Value& value) {
  if (value.Is(Kind::kIterator)) return std::static_pointer_cast<IteratorObject>(value.object());
  if (value.Is(Kind::kLoop)) {
    throw Error(ErrorKind::kUnsupported, "iterating over the loop variable is not supported");
  }
  const bool text = value.Is(Kind::kString);
  const int64_t length =
      text ? static_cast<int64_t>(value.text().size()) : LengthOrNone(run, value);
  if (length < 0) {
    throw Error(ErrorKind::kType, absl::StrCat("'", TypeName(value), "' object is not iterable"));
  }
  auto next = [value, length, i = int64_t{0}](Run& r, Value* out) mutable {
    if (i >= length) return false;
    r.Step();
    const auto at = static_cast<size_t>(i++);
    switch (value.kind()) {
      case Kind::kString: {
        const size_t bytes = ByteOffset(std::string_view(value.text()).substr(at), 1);
        i += static_cast<int64_t>(bytes) - 1;
        *out = Value::String(value.text().substr(at, bytes));
        return true;
      }
      case Kind::kDict:
        *out = value.As<DictObject>().entries[at].first;
        return true;
      case Kind::kView:
        *out = value.As<ViewObject>().At(at);
        return true;
      case Kind::kRange:
        *out = value.As<RangeObject>().At(static_cast<int64_t>(at));
        return true;
      default:
        *out = value.items()[at];
        return true;
    }
  };
  return std::static_pointer_cast<IteratorObject>(
      Iterator(std::move(next), value.depth()).object());
}

std::vector<Value> ItemsOf(Run& run, const Value& value) {
  std::vector<Value> out;
  const auto items = Iterate(run, value);
  for (Value item; items->next(run, &item);) {
    run.Make(static_cast<int64_t>(sizeof(Value)));
    out.push_back(std::move(item));
  }
  return out;
}

}  // namespace fttrain::jinja
