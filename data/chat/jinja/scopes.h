// Which variable a name is: Jinja2 decides it before a template runs, and so does this.
#pragma once

#include "data/chat/jinja/ast.h"

namespace fttrain::jinja {

// Gives every name its place and every frame its loads, by the rules of jinja2/idtracking.py: a
// name that is set anywhere in a frame is that frame's from its beginning. Checks what Jinja2's
// compiler checks. Errors: kSyntax for unknown filters and tests (outside of `if`, where it is an
// error only if they are reached), for setting `loop` in a loop's target and for break or continue
// outside of a loop.
void PlaceVariables(TemplateNode* root);

}  // namespace fttrain::jinja
