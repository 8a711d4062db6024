// The methods of Python's types that a template may call, and the arguments of calls.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/chat/jinja/run.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

// object.name as a function; nullopt where the type has no such method. kUnsupported for one that
// Python has and this interpreter does not.
std::optional<Value> MethodOf(const Value& object, const std::string& name);
std::optional<Value> StringMethod(const Value& text, const std::string& name);  // for MethodOf

// Methods that would change a list or a dictionary: the sandbox forbids them.
bool IsMutator(const Value& object, const std::string& name);
bool IsDictMethod(const std::string& name);

// The arguments of one call, matched to parameters as Python does. Errors: kType for too few, too
// many, an unknown or a doubled name.
class Parameters {
 public:
  // `names` in order; those before `by_position` have no name for the caller. The first `required`
  // must be there.
  Parameters(std::string_view function, const Arguments& args,
             std::initializer_list<const char*> names, size_t required, size_t by_position = 0);

  bool Has(size_t i) const { return values_[i].has_value(); }
  bool Given(size_t i) const { return Has(i) && !values_[i]->Is(Kind::kNone); }
  const Value& operator[](size_t i) const { return *values_[i]; }
  Value Or(size_t i, Value absent) const { return Has(i) ? *values_[i] : std::move(absent); }
  int64_t Int(size_t i, int64_t absent) const;
  bool Flag(size_t i, bool absent) const;
  const std::string& String(size_t i) const;  // kType for another type

 private:
  std::string function_;
  std::vector<std::optional<Value>> values_;
};

// As Parameters, for functions that take nothing.
void TakesNothing(std::string_view function, const Arguments& args);

}  // namespace fttrain::jinja
