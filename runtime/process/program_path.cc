#include "runtime/process/program_path.h"

#include <filesystem>
#include <system_error>

namespace fttrain {

std::string ProgramPath() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

}  // namespace fttrain
