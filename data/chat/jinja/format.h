// Python's three ways to format: 'text' % values, 'text'.format(values), format(value, spec).
#pragma once

#include <string>

#include "data/chat/jinja/run.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

std::string FormatPercent(Run& run, const std::string& text, const Value& values);
// With `mapping`, as format_map: fields are its keys.
std::string FormatBraces(Run& run, const std::string& text, const Arguments& args,
                         const Value* mapping = nullptr);
std::string FormatSpec(Run& run, const Value& value, const std::string& spec);

// round(value, digits): to even, of the exact decimal expansion.
double RoundReal(double value, int64_t digits);

}  // namespace fttrain::jinja
