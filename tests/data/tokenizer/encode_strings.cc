// encode_strings FOLDER STRINGS IDS [THREADS] [special]: what a folder's tokenizer makes of a file
// of strings, for scripts that compare it with other programs' and time it. STRINGS holds records
// of a 32-bit length and as many bytes; IDS gets for each a 32-bit count and as many 32-bit ids, or
// the count 2^32 - 1 and a message's length and bytes. Prints seconds to load, seconds to encode,
// and the seconds that all cores together spent on that.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::vector<std::string> ReadStrings(const char* path) {
  std::ifstream in(path, std::ios::binary);
  const std::string all(std::istreambuf_iterator<char>(in), {});
  std::vector<std::string> strings;
  for (size_t at = 0; at + 4 <= all.size();) {
    uint32_t length = 0;
    std::memcpy(&length, all.data() + at, 4);
    strings.push_back(all.substr(at + 4, length));
    at += 4 + length;
  }
  return strings;
}

void Append32(uint32_t value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), 4);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4)
    return std::fprintf(stderr, "encode_strings FOLDER STRINGS IDS [THREADS] [special]\n"), 2;
  const std::vector<std::string> strings = ReadStrings(argv[2]);
  const size_t threads = argc > 4 ? std::stoul(argv[4]) : 1;
  const bool special = argc > 5 && std::string(argv[5]) == "special";
  auto start = Clock::now();
  const auto tokenizer = fttrain::Tokenizer::Load(argv[1]);
  if (!tokenizer.ok())
    return std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str()), 1;
  const double load_seconds = Since(start);
  start = Clock::now();
  const std::clock_t cpu_start = std::clock();
  std::vector<absl::StatusOr<std::vector<int32_t>>> ids(strings.size());
  std::vector<std::thread> pool;
  for (size_t t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      for (size_t i = t; i < strings.size(); i += threads)
        ids[i] = (*tokenizer)->Encode(strings[i], special);
    });
  }
  for (std::thread& thread : pool) thread.join();
  const double cpu_seconds = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  std::printf("%.6f %.6f %.6f\n", load_seconds, Since(start), cpu_seconds);
  std::string out;
  for (const auto& row : ids) {
    if (row.ok()) {
      Append32(static_cast<uint32_t>(row->size()), &out);
      out.append(reinterpret_cast<const char*>(row->data()), row->size() * 4);
    } else {
      const std::string message(row.status().message());
      Append32(UINT32_MAX, &out);
      Append32(static_cast<uint32_t>(message.size()), &out);
      out += message;
    }
  }
  std::ofstream(argv[3], std::ios::binary) << out;
  return 0;
}
