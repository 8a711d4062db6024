// What our pages have in common: one file each, no scripts, nothing from elsewhere, light and dark.
#pragma once

#include <string>

namespace fttrain {

std::string HtmlEscaped(const std::string& text);

// From the doctype to the heading, which is the title. `more`: lines of <head>.
std::string HtmlHead(const std::string& title, const std::string& more = "");

}  // namespace fttrain
