// A fuzz target: one parser, given any bytes. NAME.cc has these three functions and is run by
// driver.cc (everywhere) or by clang's libFuzzer (run.sh). A target calls FT_CHECK for what must
// hold of everything that the parser accepts.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "runtime/process/log.h"

// Returns 0. Aborts, or is killed for its time or memory, where something is wrong.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace fttrain::fuzz {

// Small good inputs, from which others are made.
std::vector<std::string> Seeds();
// What mutations put in: keys, values, punctuation of the parser's language.
std::vector<std::string> Words();

// Inputs that the parser took: a target counts them. A campaign of refusals alone says little.
inline int64_t accepted = 0;
inline std::string last_refusal;

// A target ends with it where the parser refuses: with words, not too many, and none that hide or
// forge others on a terminal, whatever the input says.
inline int Refused(const absl::Status& status) {
  const std::string message(status.message());
  last_refusal = message;
  std::string line = message;
  std::replace(line.begin(), line.end(), '\n', ' ');  // of several faults, one a line
  const bool clean = !message.empty() && message.size() < 40'000 && Printable(line, 40'000) == line;
  if (clean) return 0;
  std::fprintf(stderr, "a bad message of %zu bytes: %s\n", message.size(), last_refusal.c_str());
  abort();
}

// An input of several files: they are parted by a byte that is in none of the good ones.
inline constexpr char kNextPart = '\x1e';
inline std::vector<std::string> Parts(const uint8_t* data, size_t size) {
  std::vector<std::string> parts(1);
  for (const char c : std::string_view(reinterpret_cast<const char*>(data), size)) {
    if (c == kNextPart) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// A folder of this process, in memory where the machine has such a place; removed at its end.
class Scratch {
 public:
  Scratch() : path_(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") {
    path_ += "/fttrain-fuzz-XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) perror("mkdtemp"), abort();
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }
  std::string Write(const std::string& name, std::string_view contents) const {
    const std::string path = path_ + "/" + name;
    std::ofstream(path, std::ios::binary) << contents;
    return path;
  }

 private:
  std::string path_;
};

}  // namespace fttrain::fuzz
