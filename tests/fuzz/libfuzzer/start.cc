// What libFuzzer is to know before it begins: the target's seeds and words, in files of the folder
// $FTTRAIN_FUZZ_FOLDER: seeds/, words.
#include <cstdlib>

#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* folder = std::getenv("FTTRAIN_FUZZ_FOLDER");
  if (folder == nullptr) return 0;
  const std::string path = folder;
  std::filesystem::create_directories(path + "/seeds");
  int number = 0;
  for (const std::string& seed : fttrain::fuzz::Seeds()) {
    std::ofstream(path + "/seeds/" + std::to_string(number++), std::ios::binary) << seed;
  }
  std::ofstream words(path + "/words");
  for (const std::string& word : fttrain::fuzz::Words()) {
    words << '"';
    for (const char c : word) {
      char byte[8];
      std::snprintf(byte, sizeof(byte), "\\x%02x", static_cast<unsigned char>(c));
      words << byte;
    }
    words << "\"\n";
  }
  return 0;
}
