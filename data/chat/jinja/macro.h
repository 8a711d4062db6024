// What is called in a template: its macros.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/chat/jinja/loop.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

struct MacroNode;  // ast.h

struct MacroObject : Object {
  const MacroNode* node = nullptr;    // of the template, which outlives the run
  std::shared_ptr<Activation> outer;  // where it was defined
};

std::optional<Value> MacroAttribute(const Value& macro, const std::string& name);
std::string MacroText(const Value& macro);  // <Macro 'name'>

}  // namespace fttrain::jinja
