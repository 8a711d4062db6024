// The names that every template can use: filters, tests, functions.
#pragma once

#include <optional>
#include <string>

#include "data/chat/jinja/run.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

// `args.positional[0]` is what the filter stands behind.
using Builtin = Value (*)(Run&, Arguments& args);

// Null for a name that Jinja2 does not have. Errors: kUnsupported for one that this interpreter
// refuses (random, urlize, ...).
Builtin FindFilter(const std::string& name);
Builtin FindTest(const std::string& name);
// range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
std::optional<Value> GlobalOf(const std::string& name);

// As call_filter and call_test: kRuntime for unknown names.
Value CallFilter(Run& run, const std::string& name, Arguments& args);
bool CallTest(Run& run, const std::string& name, Arguments& args);

// json.dumps() as transformers' tojson calls it.
Value ToJson(Run& run, Arguments& args);

}  // namespace fttrain::jinja
