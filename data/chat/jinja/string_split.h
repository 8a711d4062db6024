// The methods of str that take it apart or put it together; for string_methods.cc and filters.
#pragma once

#include <string>
#include <string_view>

#include "data/chat/jinja/run.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

template <bool kFromEnd>
Value Split(Run& run, const std::string& text, Arguments& args);
template <bool kFromEnd>
Value Partition(Run& run, const std::string& text, Arguments& args);
Value Lines(Run& run, const std::string& text, Arguments& args);

// str.replace(); all of them for a negative count.
std::string ReplaceText(Run& run, const std::string& text, const std::string& old,
                        const std::string& put, int64_t count);
// str.ljust (side -1), center (0), rjust (1): `width` code points.
std::string Justify(Run& run, const std::string& text, int64_t width, std::string_view fill,
                    int side);

}  // namespace fttrain::jinja
