// Tokens -> tree, by Jinja2's grammar with the statements break, continue and generation.
#pragma once

#include <string_view>

#include "data/chat/jinja/ast.h"

namespace fttrain::jinja {

// Errors: kSyntax with the line; kUnsupported for statements that need other files (include,
// import, extends) or switch escaping (autoescape), and for block; kLimit where the template is
// nested too deeply.
TemplateNode Parse(std::string_view source);

}  // namespace fttrain::jinja
