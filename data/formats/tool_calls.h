// The calls of a turn, in the form that chat templates are written for.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja/value.h"
#include "data/formats/row.h"

namespace fttrain {

// Each as {"id", "type": "function", "function": {"name", "arguments"}}, in the order of its own
// keys; a flat {"name", "arguments"} is put into that form. Arguments that are JSON text are
// parsed, as engines that serve models do before they render; text that is no JSON object is
// refused. null is left out. `name`: the key that holds the calls.
absl::StatusOr<std::vector<jinja::Value>> ReadToolCalls(const RowObject& turn,
                                                        absl::string_view name,
                                                        const RowJson& calls);

// A JSON value for templates. InvalidArgument, naming the key, where they cannot hold it.
absl::StatusOr<jinja::Value> TemplateValue(const RowObject& object, absl::string_view name,
                                           const RowJson& json);

}  // namespace fttrain
