// Where golden files lie.
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

namespace fttrain {

// A file of tests/golden: in FTTRAIN_GOLDEN_DIR of the environment, since test programs travel to
// machines without the sources; without it in the sources they were built from.
inline std::string GoldenPath(std::string_view name) {
  const char* folder = std::getenv("FTTRAIN_GOLDEN_DIR");
  return std::string(folder == nullptr ? FTTRAIN_GOLDEN_DIR : folder) + "/" + std::string(name);
}

}  // namespace fttrain
