#include "runtime/files/user_path.h"

#include <cstdlib>

namespace fttrain {

std::string ExpandHome(const std::string& path) {
  const bool of_home = path == "~" || path.starts_with("~/");
  const char* home = of_home ? std::getenv("HOME") : nullptr;
  return home == nullptr || *home == '\0' ? path : home + path.substr(1);
}

}  // namespace fttrain
