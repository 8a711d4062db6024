// The values of a template: Python's, as far as the sandbox lets a template see them. Strings are
// well-formed UTF-8 and count code points. Lists, tuples and dictionaries never change once made:
// the sandbox forbids the methods that would change them. Include in .cc files only.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat/jinja/error.h"

namespace fttrain::jinja {

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,       // dict.keys(), .values(), .items()
  kIterator,   // what Python calls a generator or an iterator: read once
  kSlice,      // only as a part of a subscript's tuple
  kNamespace,  // the one container a template may change
  kLoop,
  kMacro,
  kFunction,
  kCycler
};

struct Object {
  virtual ~Object() = default;
  int depth = 1;  // 1 + that of the deepest value inside; at most kMaxValueDepth
  // 1 + those of all values inside: what comparing and hashing cost, since a list may hold another
  // many times. At most kMaxWeight.
  int64_t weight = 1;
};

// A copy is cheap: it shares the object. Equality is Python's ==; see operators.h.
class Value {
 public:
  Value() : kind_(Kind::kNone), int_(0) {}
  static Value None() { return Value(); }
  static Value Bool(bool b);
  static Value Int(int64_t i);
  static Value Float(double d);
  static Value String(std::string text, bool markup = false);
  // Errors: kLimit where they are nested deeper than kMaxValueDepth or weigh more than
  // kMaxWeight.
  static Value List(std::vector<Value> items);
  static Value Tuple(std::vector<Value> items);
  static Value Group(Value grouper, Value list);  // of the filter groupby: a tuple with names
  static Value Of(Kind kind, std::shared_ptr<Object> object);
  // The same object without a share in it: *this must outlive what comes of it. For what all
  // threads use, whose count of owners they would else change all the time.
  Value Borrowed() const;

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsNumber() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  bool IsInteger() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }  // as in Python

  bool boolean() const { return int_ != 0; }
  int64_t integer() const { return int_; }  // of kBool and kInt
  double real() const { return kind_ == Kind::kFloat ? float_ : static_cast<double>(int_); }
  const std::string& text() const;          // of kString
  bool markup() const;                      // a string made by the filters safe and escape
  const std::vector<Value>& items() const;  // of kList and kTuple
  template <typename T>
  T& As() const {
    return static_cast<T&>(*object_);
  }
  const std::shared_ptr<Object>& object() const { return object_; }
  int depth() const { return object_ == nullptr ? 0 : object_->depth; }
  int64_t weight() const { return object_ == nullptr ? 1 : object_->weight; }

 private:
  Kind kind_;
  union {
    int64_t int_;
    double float_;
  };
  std::shared_ptr<Object> object_;
};

// A JSON value; the order of keys is that of `json`. Error kUnsupported for integers beyond 64
// bits.
Value FromJson(const nlohmann::ordered_json& json);

// Python's name of the type: "int", "str", "NoneType", "dict_keys".
std::string TypeName(const Value& value);

}  // namespace fttrain::jinja
