#include "runtime/files/user_path.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

namespace fttrain {

std::string ExpandHome(const std::string& path) {
  const bool of_home = path == "~" || path.starts_with("~/");
  const char* home = of_home ? std::getenv("HOME") : nullptr;
  return home == nullptr || *home == '\0' ? path : home + path.substr(1);
}

std::string ExistingFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::absolute(path, error).lexically_normal();
  if (!folder.has_filename() && folder.has_relative_path()) folder = folder.parent_path();
  while (!std::filesystem::is_directory(folder, error) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  return folder.string();
}

}  // namespace fttrain
