// A folder of its own for one test, removed with everything in it at the end.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace fttrain {

class TempFolder {
 public:
  TempFolder() : path_(testing::TempDir() + "fttrain-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) perror("mkdtemp"), abort();
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

  // Writes a file and returns its path.
  std::string Write(std::string_view name, std::string_view contents) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary) << contents;
    return path;
  }
  size_t FileCount() const {
    size_t count = 0;
    for (const auto& item : std::filesystem::directory_iterator(path_)) count += item.exists();
    return count;
  }

 private:
  std::string path_;
};

}  // namespace fttrain
