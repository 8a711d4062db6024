// Text that says of itself that it is HTML (Jinja2's Markup): what `safe` and `escape` return.
// Automatic escaping is off, so that it matters only where such text meets other text in `+`.
#pragma once

#include <string>
#include <string_view>

namespace fttrain::jinja {

std::string Escape(std::string_view text);  // & < > ' "

}  // namespace fttrain::jinja
