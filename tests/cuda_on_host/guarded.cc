#include "tests/cuda_on_host/guarded.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tests/cuda_on_host/grid.h"

namespace fttrain::cuda_on_host {
namespace {

constexpr char kPattern = '\xff';  // a NaN in every type

std::vector<const GuardedBytes*>& AllBuffers() {
  static auto& buffers = *new std::vector<const GuardedBytes*>;
  return buffers;
}

// The access was a thread's of the grid, on the fiber's own stack: no lock can be held.
void OnFault(int signal, siginfo_t* info, void*) {
  if (!InGrid()) {
    ::signal(signal, SIG_DFL);
    return;
  }
  std::string place = "address " + std::to_string(reinterpret_cast<uintptr_t>(info->si_addr));
  for (const GuardedBytes* buffer : AllBuffers()) {
    const std::string found = buffer->Describe(static_cast<const char*>(info->si_addr));
    if (!found.empty()) place = found;
  }
  Fail("access to " + place);
}

void WatchFaults() {
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
}

}  // namespace

GuardedBytes::GuardedBytes(std::string name, size_t bytes, size_t element, Placement placement)
    : name_(std::move(name)), bytes_(bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t inner = (bytes + 16 + page - 1) / page * page;
  mapped_ = inner + 2 * page;
  mapping_ = static_cast<char*>(
      mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  pages_ = mapping_ + page;
  if (mapping_ == MAP_FAILED || mprotect(pages_, inner, PROT_READ | PROT_WRITE) != 0) {
    throw std::runtime_error("no memory for " + name_);
  }
  std::fill(pages_, pages_ + inner, kPattern);
  const size_t after_16 = placement.aligned ? 0 : element % 16;
  data_ = pages_ + after_16;
  if (placement.at_end) data_ = pages_ + (inner - bytes - after_16) / 16 * 16 + after_16;
  std::fill(data_, data_ + bytes, '\0');
  if (AllBuffers().empty()) WatchFaults();
  AllBuffers().push_back(this);
}

GuardedBytes::~GuardedBytes() {
  AllBuffers().erase(std::find(AllBuffers().begin(), AllBuffers().end(), this));
  munmap(mapping_, mapped_);
}

void GuardedBytes::CheckSurroundings() const {
  const char* end = mapping_ + mapped_ - (pages_ - mapping_);
  const auto intact = [](char c) { return c == kPattern; };
  if (!std::all_of(static_cast<const char*>(pages_), static_cast<const char*>(data_), intact) ||
      !std::all_of(static_cast<const char*>(data_ + bytes_), end, intact)) {
    throw std::runtime_error(name_ + ": bytes beside it were written");
  }
}

std::string GuardedBytes::Describe(const char* address) const {
  if (address < mapping_ || address >= mapping_ + mapped_) return "";
  return "byte " + std::to_string(address - data_) + " of " + name_ + ", which has " +
         std::to_string(bytes_);
}

}  // namespace fttrain::cuda_on_host

// The kernels are compiled with -fsanitize=alignment,bounds; these stand for the sanitizer's
// library, whose reports do not know threads and end the process.
namespace {
struct SanitizerSite {
  const char* file;
  uint32_t line, column;
};
std::string TextOf(const void* data) {
  const auto* site = static_cast<const SanitizerSite*>(data);
  return std::string(site->file) + ":" + std::to_string(site->line);
}
}  // namespace
extern "C" {
void __ubsan_handle_type_mismatch_v1(void* data, uintptr_t address) {
  fttrain::cuda_on_host::Fail("misaligned access to address " + std::to_string(address) + " at " +
                              TextOf(data));
}
void __ubsan_handle_out_of_bounds(void* data, uintptr_t index) {
  fttrain::cuda_on_host::Fail("index " + std::to_string(index) + " beyond an array at " +
                              TextOf(data));
}
}
