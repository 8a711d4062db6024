// What values share: undefined, text, lists, dictionaries, and what only templates have.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

class Run;  // run.h

// Undefined prints as nothing and is false; whatever else is done with it fails with `message`.
struct UndefinedObject : Object {
  std::string message;
  ErrorKind kind = ErrorKind::kUndefined;
};
Value Undefined(std::string message, ErrorKind kind = ErrorKind::kUndefined);
Value UndefinedName(const std::string& name);
[[noreturn]] void FailUndefined(const Value& undefined);

struct StringObject : Object {
  std::string text;
  bool markup = false;
};

struct ListObject : Object {
  std::vector<Value> items;
  bool group = false;
};

// Entries keep the order they came in. Keys are equal as Python's are: 1, 1.0 and true are one.
struct DictObject : Object {
  // Error kType for a key that Python cannot hash (list, dict).
  void Set(const Value& key, Value value);
  const Value* Find(const Value& key) const;  // as above; null if it is not there
  const Value* Find(std::string_view key) const;

  std::vector<std::pair<Value, Value>> entries;

 private:
  static constexpr size_t kMostUnindexed = 8;  // so few are looked at one by one

  // The entry with a key, or -1.
  int64_t IndexOf(const Value& key) const;
  int64_t IndexOf(std::string_view key) const;
  template <typename HashOf, typename IsIt>
  int64_t Search(const HashOf& hash, const IsIt& is_it) const;
  std::unordered_multimap<size_t, size_t> index_;  // hash -> entry; empty: of few
};
Value Dict(std::shared_ptr<DictObject> dict);

struct RangeObject : Object {
  int64_t start = 0, stop = 0, step = 1;
  int64_t Length() const;
  Value At(int64_t i) const { return Value::Int(start + i * step); }
};

struct ViewObject : Object {
  enum What { kKeys, kValues, kItems } what = kKeys;
  std::shared_ptr<DictObject> dict;
  Value At(size_t i) const;
};

struct IteratorObject : Object {
  std::function<bool(Run&, Value*)> next;  // false behind the last item, and from then on
  const char* name = "generator";          // Python's name of its type
};

struct SliceObject : Object {
  Value start, stop, step;
};

struct NamespaceObject : Object {
  std::shared_ptr<DictObject> attributes;
};

struct CyclerObject : Object {
  std::vector<Value> items;
  size_t position = 0;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  const Value* Named(std::string_view name) const;
};

struct FunctionObject : Object {
  std::string name;
  std::function<Value(Run&, Arguments&)> call;
  bool is_class = false;  // the global `dict`, which has an attribute
};
Value Function(std::string name, std::function<Value(Run&, Arguments&)> call, int depth_inside = 0);

}  // namespace fttrain::jinja
