// Paths as people write them.
#pragma once

#include <string>

namespace fttrain {

// "~" and "~/models" with the folder of $HOME in place of the tilde, which shells leave alone in
// --model=~/models and in files. Everything else, and all of it without a $HOME, as it is.
std::string ExpandHome(const std::string& path);

// The first folder that exists on the way up from `path`, itself included: where something can be
// measured or written before `path` is made. Absolute, without a last slash (but for "/").
std::string ExistingFolder(const std::string& path);

}  // namespace fttrain
