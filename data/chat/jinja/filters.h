// The filters by what they work on; for filters.cc, which has the table.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "data/chat/jinja/library.h"

namespace fttrain::jinja {

using FilterEntry = std::pair<const char*, Builtin>;

const std::vector<FilterEntry>& TextFilters();
const std::vector<FilterEntry>& NumberFilters();
const std::vector<FilterEntry>& SequenceFilters();  // all items at once
const std::vector<FilterEntry>& LazyFilters();      // item by item, when they are asked for

// Looks up "name", "inner.name" or a number in values: jinja2.filters.make_attrgetter.
class AttributeGetter {
 public:
  // `attribute` may be null or none: the value itself. `fallback` stands for what is undefined.
  explicit AttributeGetter(const Value* attribute, const Value* fallback = nullptr);
  Value operator()(Run& run, Value item) const;
  int depth() const;

 private:
  std::vector<Value> parts_;
  std::optional<Value> fallback_;
};

Value LowerIfText(const Value& value);  // the key of comparisons that ignore case

}  // namespace fttrain::jinja
