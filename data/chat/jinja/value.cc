#include "data/chat/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/objects.h"
#include "data/chat/jinja/operators.h"
#include "data/chat/jinja/text.h"

namespace fttrain::jinja {
namespace {

int DepthOf(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth;
}

void SetWeight(int64_t weight, Object* object) {
  object->weight = weight;
  if (weight > kMaxWeight) {
    throw Error(ErrorKind::kLimit, absl::StrCat("a value holds more than ", kMaxWeight, " others"));
  }
}

void SetDepth(int inside, Object* object) {
  object->depth = inside + 1;
  if (object->depth > kMaxValueDepth) {
    throw Error(ErrorKind::kLimit,
                absl::StrCat("values are nested deeper than ", kMaxValueDepth, " levels"));
  }
}

}  // namespace

Value Value::Bool(bool b) {
  Value value;
  value.kind_ = Kind::kBool;
  value.int_ = b ? 1 : 0;
  return value;
}

Value Value::Int(int64_t i) {
  Value value;
  value.kind_ = Kind::kInt;
  value.int_ = i;
  return value;
}

Value Value::Float(double d) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.float_ = d;
  return value;
}

Value Value::String(std::string text, bool markup) {
  auto object = std::make_shared<StringObject>();
  object->text = std::move(text);
  object->markup = markup;
  return Of(Kind::kString, std::move(object));
}

Value Value::List(std::vector<Value> items) {
  auto object = std::make_shared<ListObject>();
  SetDepth(DepthOf(items), object.get());
  int64_t weight = 1;
  for (const Value& item : items) weight += item.weight();
  SetWeight(weight, object.get());
  object->items = std::move(items);
  return Of(Kind::kList, std::move(object));
}

Value Value::Tuple(std::vector<Value> items) {
  Value value = List(std::move(items));
  value.kind_ = Kind::kTuple;
  return value;
}

Value Value::Group(Value grouper, Value list) {
  Value value = Tuple({std::move(grouper), std::move(list)});
  value.As<ListObject>().group = true;
  return value;
}

Value Value::Of(Kind kind, std::shared_ptr<Object> object) {
  Value value;
  value.kind_ = kind;
  value.object_ = std::move(object);
  return value;
}

Value Value::Borrowed() const {
  if (object_ == nullptr) return *this;
  return Of(kind_, std::shared_ptr<Object>(std::shared_ptr<Object>(), object_.get()));
}

const std::string& Value::text() const { return As<StringObject>().text; }
bool Value::markup() const { return kind_ == Kind::kString && As<StringObject>().markup; }
const std::vector<Value>& Value::items() const { return As<ListObject>().items; }

Value Undefined(std::string message, ErrorKind kind) {
  auto object = std::make_shared<UndefinedObject>();
  object->message = std::move(message);
  object->kind = kind;
  return Value::Of(Kind::kUndefined, std::move(object));
}

Value UndefinedName(const std::string& name) {
  return Undefined(absl::StrCat(Quoted(name), " is undefined"));
}

void FailUndefined(const Value& undefined) {
  const auto& object = undefined.As<UndefinedObject>();
  throw Error(object.kind, object.message);
}

template <typename HashOf, typename IsIt>
int64_t DictObject::Search(const HashOf& hash, const IsIt& is_it) const {
  if (index_.empty()) {
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [&](const auto& entry) { return is_it(entry.first); });
    return found == entries.end() ? -1 : found - entries.begin();
  }
  const auto [begin, end] = index_.equal_range(hash());
  for (auto it = begin; it != end; ++it) {
    if (is_it(entries[it->second].first)) return static_cast<int64_t>(it->second);
  }
  return -1;
}

int64_t DictObject::IndexOf(std::string_view key) const {
  return Search([&] { return std::hash<std::string_view>()(key); },
                [&](const Value& other) { return other.Is(Kind::kString) && other.text() == key; });
}

int64_t DictObject::IndexOf(const Value& key) const {
  if (key.Is(Kind::kString)) return IndexOf(std::string_view(key.text()));
  const size_t hash = Hash(key);  // fails for what Python cannot hash
  return Search([&] { return hash; }, [&](const Value& other) { return Equal(other, key); });
}

void DictObject::Set(const Value& key, Value value) {
  const int64_t found = IndexOf(key);
  SetDepth(std::max({depth - 1, key.depth(), value.depth()}), this);
  if (found >= 0) {
    Value& slot = entries[static_cast<size_t>(found)].second;
    SetWeight(weight - slot.weight() + value.weight(), this);
    slot = std::move(value);
    return;
  }
  SetWeight(weight + key.weight() + value.weight(), this);
  entries.emplace_back(key, std::move(value));
  if (entries.size() <= kMostUnindexed) return;
  for (size_t i = index_.size(); i < entries.size(); ++i) index_.emplace(Hash(entries[i].first), i);
}

const Value* DictObject::Find(const Value& key) const {
  const int64_t found = IndexOf(key);
  return found < 0 ? nullptr : &entries[static_cast<size_t>(found)].second;
}

const Value* DictObject::Find(std::string_view key) const {
  const int64_t found = IndexOf(key);
  return found < 0 ? nullptr : &entries[static_cast<size_t>(found)].second;
}

Value Dict(std::shared_ptr<DictObject> dict) { return Value::Of(Kind::kDict, std::move(dict)); }

int64_t RangeObject::Length() const {
  // In 128 bits: the difference of two integers may not fit into 64.
  const __int128 span =
      step > 0 ? static_cast<__int128>(stop) - start : static_cast<__int128>(start) - stop;
  const __int128 stride = step > 0 ? step : -static_cast<__int128>(step);
  if (span <= 0) return 0;
  const __int128 length = (span + stride - 1) / stride;
  return length > INT64_MAX ? INT64_MAX : static_cast<int64_t>(length);
}

Value ViewObject::At(size_t i) const {
  const auto& [key, value] = dict->entries[i];
  return what == kKeys ? key : what == kValues ? value : Value::Tuple({key, value});
}

const Value* Arguments::Named(std::string_view name) const {
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Function(std::string name, std::function<Value(Run&, Arguments&)> call, int depth_inside) {
  auto object = std::make_shared<FunctionObject>();
  SetDepth(depth_inside, object.get());
  object->name = std::move(name);
  object->call = std::move(call);
  return Value::Of(Kind::kFunction, std::move(object));
}

Value FromJson(const nlohmann::ordered_json& json) {
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return Value::Bool(json.get<bool>());
    case nlohmann::json::value_t::number_integer:
      return Value::Int(json.get<int64_t>());
    case nlohmann::json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
        throw Error(ErrorKind::kUnsupported,
                    absl::StrCat("integers beyond 64 bits are not supported: ", json.dump()));
      }
      return Value::Int(json.get<int64_t>());
    case nlohmann::json::value_t::number_float:
      return Value::Float(json.get<double>());
    case nlohmann::json::value_t::string:
      return Value::String(json.get<std::string>());
    case nlohmann::json::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(FromJson(item));
      return Value::List(std::move(items));
    }
    case nlohmann::json::value_t::object: {
      auto dict = std::make_shared<DictObject>();
      for (const auto& [key, value] : json.items()) dict->Set(Value::String(key), FromJson(value));
      return Dict(std::move(dict));
    }
    default:
      return Value::None();
  }
}

std::string TypeName(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.markup() ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView: {
      const auto what = value.As<ViewObject>().what;
      return what == ViewObject::kKeys     ? "dict_keys"
             : what == ViewObject::kValues ? "dict_values"
                                           : "dict_items";
    }
    case Kind::kIterator:
      return value.As<IteratorObject>().name;
    case Kind::kSlice:
      return "slice";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kMacro:
      return "Macro";
    case Kind::kFunction:
      return "function";
    case Kind::kCycler:
      return "Cycler";
  }
  return "";
}

}  // namespace fttrain::jinja
