// Reads paths, a line each, and says of every file whether it is taken: "taken", or why not. For
// safetensors_beside_python.py.
#include <iostream>
#include <string>

#include "runtime/files/safetensors.h"

int main() {
  for (std::string path; std::getline(std::cin, path);) {
    const auto file = fttrain::SafetensorsFile::Open(path);
    const std::string why(file.ok() ? "taken" : file.status().message());
    std::cout << why << "\n";
  }
  return 0;
}
