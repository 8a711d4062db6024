// What Python's operators and built-in functions do with values. All throw Error as Python raises;
// using an undefined value raises its own error.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/chat/jinja/run.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

bool Truth(const Value& value);
bool Equal(const Value& a, const Value& b);            // ==, which never fails
bool Equal(Run& run, const Value& a, const Value& b);  // with its steps counted
size_t Hash(const Value& value);                       // kType: "unhashable type: 'list'"
// Below, at or above 0; kUnordered beside a NaN. `op` is for the message.
inline constexpr int kUnordered = 2;
int Compare(Run& run, const Value& a, const Value& b, std::string_view op);
bool Contains(Run& run, const Value& container, const Value& item);  // item in container

enum class Operator { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
Value Apply(Run& run, Operator op, const Value& a, const Value& b);
Value Negative(const Value& value);
Value Positive(const Value& value);

// str() and repr(). kUnsupported for what Python prints with its address in memory.
std::string Text(Run& run, const Value& value);
std::string Repr(Run& run, const Value& value);

// len(); nullopt-like -1 where the type has none.
int64_t LengthOrNone(Run& run, const Value& value);
int64_t Length(Run& run, const Value& value);
int64_t Index(const Value& value);  // an integer where Python wants one (bool is)

// iter(): the iterator itself, or a new one over the items.
std::shared_ptr<IteratorObject> Iterate(Run& run, const Value& value);
std::vector<Value> ItemsOf(Run& run, const Value& value);  // list()
Value Iterator(std::function<bool(Run&, Value*)> next, int depth_inside,
               const char* name = "generator");

// x[item] and x.name as Jinja looks them up: the one falls back to the other; undefined where both
// fail; what the sandbox forbids is undefined too, and fails when used.
Value GetItem(Run& run, const Value& object, const Value& item);
Value GetAttribute(Run& run, const Value& object, const std::string& name);
Value GetAttributeOnly(Run& run, const Value& object, const std::string& name);
Value GetSlice(Run& run, const Value& object, const SliceObject& slice);

}  // namespace fttrain::jinja
