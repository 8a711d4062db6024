// Paths as people write them.
#pragma once

#include <string>

namespace fttrain {

// "~" and "~/models" with the folder of $HOME in place of the tilde, which shells leave alone in
// --model=~/models and in files. Everything else, and all of it without a $HOME, as it is.
std::string ExpandHome(const std::string& path);

}  // namespace fttrain
