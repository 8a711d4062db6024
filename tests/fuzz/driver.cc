// fuzz_NAME [--inputs N] [--seconds N] [--seed N] [--megabytes N] [FILE ...]: one target's seeds,
// then N inputs made of them and of what the parser took, or as many as N seconds allow; with
// files, these alone. Equal seeds give equal inputs. An input that fails, takes longer than
// kMostSeconds of a CPU or holds more than so many megabytes is left in fuzz-failed.bin.
#include <fcntl.h>
#include <malloc.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <iterator>
#include <map>
#include <new>

#include "tests/fuzz/mutations.h"
#include "tests/fuzz/target.h"

namespace {

constexpr int kMostSeconds = 5;

// Of operator new, in all threads.
std::atomic<int64_t> live_bytes = 0;
std::atomic<int64_t> most_live_bytes = 0;             // since the input began
std::atomic<int64_t> limit_bytes = int64_t{1} << 62;  // of live_bytes
const std::string* running = nullptr;                 // what the target has now

void Say(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) _exit(1);
}

// Only what a signal handler may do.
void Failed(int signal) {
  if (running != nullptr) {
    const int fd = open("fuzz-failed.bin", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (write(fd, running->data(), running->size()) >= 0) Say("see fuzz-failed.bin: ");
  }
  Say(signal == SIGPROF ? "the input takes too long\n" : "the input ends the program\n");
  _exit(1);
}

struct Cost {
  double seconds;
  int64_t bytes;
};

Cost Run(const std::string& input, int64_t megabytes) {
  // Without a spare byte behind it, so that AddressSanitizer sees a read beyond the end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  const int64_t before = live_bytes;
  most_live_bytes = before;
  limit_bytes = before + (megabytes << 20);
  const itimerval timer = {{0, 0}, {kMostSeconds, 0}};
  setitimer(ITIMER_PROF, &timer, nullptr);
  running = &input;
  const auto begin = std::chrono::steady_clock::now();
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  running = nullptr;
  limit_bytes = int64_t{1} << 62;
  return {took.count(), most_live_bytes - before};
}

int64_t Option(std::map<std::string, std::string>& options, const char* name, int64_t absent) {
  return options.count(name) == 0 ? absent : std::stoll(options[name]);
}

}  // namespace

void* operator new(size_t size) {
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  const int64_t live = live_bytes += static_cast<int64_t>(malloc_usable_size(memory));
  if (live > most_live_bytes) most_live_bytes = live;
  if (live > limit_bytes) {
    Say("the input takes too much memory\n");
    std::abort();
  }
  return memory;
}
void operator delete(void* memory) noexcept {
  live_bytes -= static_cast<int64_t>(malloc_usable_size(memory));
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

int main(int argc, char** argv) {
  using namespace fttrain::fuzz;
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF}) {
    std::signal(signal, Failed);
  }
  std::map<std::string, std::string> options;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("--") && i + 1 < argc) {
      options[word.substr(2)] = argv[++i];
    } else {
      files.push_back(word);
    }
  }
  const int64_t inputs = Option(options, "inputs", 10000);
  const double seconds = static_cast<double>(Option(options, "seconds", 3600));
  const int64_t megabytes = Option(options, "megabytes", 256);
  std::vector<std::string> first = Seeds();
  if (!files.empty()) first.clear();
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    first.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  Mutations mutations(first, Words(), static_cast<uint64_t>(Option(options, "seed", 1)));
  Cost most = {0, 0};
  int64_t tried = 0;
  const auto try_one = [&](const std::string& input) {
    const int64_t before = accepted;
    const Cost cost = Run(input, megabytes);
    most = {std::max(most.seconds, cost.seconds), std::max(most.bytes, cost.bytes)};
    ++tried;
    return accepted > before;
  };
  for (const std::string& input : first) {
    if (!try_one(input) && files.empty()) {
      std::fprintf(stderr, "a seed is refused: %s\n%s\n", last_refusal.c_str(), input.c_str());
      return 1;
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::duration<double> took{0};
  while (files.empty() && tried < inputs && took.count() < seconds) {
    const std::string input = mutations.Next();
    if (try_one(input)) mutations.Keep(input);
    took = std::chrono::steady_clock::now() - begin;
  }
  std::printf(
      "%ld inputs, of which %ld were taken, in %.1f s; the slowest %.0f ms, %.1f MB at most\n",
      static_cast<long>(tried), static_cast<long>(accepted), took.count(), most.seconds * 1e3,
      static_cast<double>(most.bytes) / (1 << 20));
  return 0;
}
