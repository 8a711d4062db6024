#include "runtime/process/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"

namespace fttrain {
namespace {

constexpr unsigned int kSmClock = 1, kMemoryClock = 2;
constexpr unsigned int kMostHolders = 256;
constexpr unsigned long long kNotTold = ~0ull;

template <typename Function>
void Find(void* library, std::initializer_list<const char*> names, Function*& function) {
  for (const char* name : names) {
    if (function == nullptr) function = reinterpret_cast<Function*>(dlsym(library, name));
  }
}

// The number that `call` writes; -1 if it fails or is not there.
template <typename Function, typename... Which>
int NumberOf(Function* call, NvmlCalls::Device device, Which... which) {
  unsigned int number = 0;
  if (call == nullptr || call(device, which..., &number) != 0) return -1;
  return static_cast<int>(number);
}

std::string TextOf(NvmlCalls::Text* call, NvmlCalls::Device device) {
  std::array<char, 128> text = {};
  if (call == nullptr || call(device, text.data(), text.size() - 1) != 0) return "";
  return text.data();
}

// "GPU-1A2B-..." -> "1a2b...", as the CUDA runtime's bytes are written.
std::string PlainUuid(const std::string& text) {
  return absl::AsciiStrToLower(absl::StrReplaceAll(text, {{"GPU-", ""}, {"-", ""}}));
}

void AddHolders(NvmlCalls::Processes* call, NvmlCalls::Device device, bool graphics,
                CardState& card) {
  std::array<NvmlCalls::Process, kMostHolders> found = {};
  unsigned int count = kMostHolders;
  if (call == nullptr || call(device, &count, found.data()) != 0) return;
  for (unsigned int i = 0; i < std::min(count, kMostHolders); ++i) {
    const auto pid = static_cast<int64_t>(found[i].pid);
    const bool known = std::any_of(card.holders.begin(), card.holders.end(),
                                   [&](const CardHolder& holder) { return holder.pid == pid; });
    if (known) continue;  // it computes and draws
    const bool told = found[i].used_bytes != kNotTold;
    card.holders.push_back({pid, told ? static_cast<int64_t>(found[i].used_bytes) : -1, graphics});
  }
}

void ReadMemory(const NvmlCalls& nvml, NvmlCalls::Device device, CardState& card) {
  NvmlCalls::MemoryV2 memory = {};
  memory.version = NvmlCalls::kMemoryV2;
  if (nvml.memory_v2 != nullptr && nvml.memory_v2(device, &memory) == 0) {
    card.total_bytes = static_cast<int64_t>(memory.total);
    card.free_bytes = static_cast<int64_t>(memory.free);
    // So that what counts as taken is `used` and nothing else.
    card.reserved_bytes = std::max<int64_t>(
        card.total_bytes - card.free_bytes - static_cast<int64_t>(memory.used), 0);
    return;
  }
  NvmlCalls::Memory older = {};
  if (nvml.memory == nullptr || nvml.memory(device, &older) != 0) return;
  card.total_bytes = static_cast<int64_t>(older.total);
  card.free_bytes = static_cast<int64_t>(older.free);
}

CardState ReadCard(const NvmlCalls& nvml, NvmlCalls::Device device) {
  CardState card;
  card.name = TextOf(nvml.name, device);
  card.uuid = PlainUuid(TextOf(nvml.uuid, device));
  ReadMemory(nvml, device, card);
  AddHolders(nvml.compute, device, /*graphics=*/false, card);
  AddHolders(nvml.graphics, device, /*graphics=*/true, card);
  std::stable_sort(card.holders.begin(), card.holders.end(),
                   [](const CardHolder& a, const CardHolder& b) { return a.bytes > b.bytes; });
  card.sm_mhz = NumberOf(nvml.clock, device, kSmClock);
  card.max_sm_mhz = NumberOf(nvml.max_clock, device, kSmClock);
  card.memory_mhz = NumberOf(nvml.clock, device, kMemoryClock);
  card.max_memory_mhz = NumberOf(nvml.max_clock, device, kMemoryClock);
  unsigned long long held_back = 0;
  if (nvml.held_back != nullptr && nvml.held_back(device, &held_back) == 0) {
    card.held_back = held_back;
  }
  card.link_generation = NumberOf(nvml.link_generation, device);
  card.max_link_generation = NumberOf(nvml.max_link_generation, device);
  card.link_width = NumberOf(nvml.link_width, device);
  card.max_link_width = NumberOf(nvml.max_link_width, device);
  return card;
}

}  // namespace

std::optional<NvmlCalls> LoadNvml(const char* library) {
  void* const loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (loaded == nullptr) return std::nullopt;
  int (*init)() = nullptr;
  Find(loaded, {"nvmlInit_v2"}, init);
  if (init == nullptr || init() != 0) return std::nullopt;
  NvmlCalls calls;
  Find(loaded, {"nvmlSystemGetDriverVersion"}, calls.driver_version);
  Find(loaded, {"nvmlDeviceGetCount_v2"}, calls.count);
  Find(loaded, {"nvmlDeviceGetHandleByIndex_v2"}, calls.device);
  Find(loaded, {"nvmlDeviceGetName"}, calls.name);
  Find(loaded, {"nvmlDeviceGetUUID"}, calls.uuid);
  Find(loaded, {"nvmlDeviceGetMemoryInfo"}, calls.memory);
  Find(loaded, {"nvmlDeviceGetMemoryInfo_v2"}, calls.memory_v2);
  // Older forms of these two write a smaller struct.
  Find(loaded,
       {"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"},
       calls.compute);
  Find(loaded,
       {"nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"},
       calls.graphics);
  Find(loaded, {"nvmlDeviceGetClockInfo"}, calls.clock);
  Find(loaded, {"nvmlDeviceGetMaxClockInfo"}, calls.max_clock);
  Find(loaded,
       {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"},
       calls.held_back);
  Find(loaded, {"nvmlDeviceGetCurrPcieLinkGeneration"}, calls.link_generation);
  Find(loaded, {"nvmlDeviceGetMaxPcieLinkGeneration"}, calls.max_link_generation);
  Find(loaded, {"nvmlDeviceGetCurrPcieLinkWidth"}, calls.link_width);
  Find(loaded, {"nvmlDeviceGetMaxPcieLinkWidth"}, calls.max_link_width);
  return calls;
}

bool HidesAllGpus(const std::string& visible) {
  const bool number = !visible.empty() && visible[0] >= '0' && visible[0] <= '9';
  return !number && visible.rfind("GPU-", 0) != 0 && visible.rfind("MIG-", 0) != 0;
}

std::string DriverVersion(const NvmlCalls& nvml) {
  std::array<char, 96> text = {};
  if (nvml.driver_version == nullptr || nvml.driver_version(text.data(), text.size() - 1) != 0) {
    return "";
  }
  return text.data();
}

std::vector<CardState> ReadCards(const NvmlCalls& nvml) {
  std::vector<CardState> cards;
  unsigned int count = 0;
  if (nvml.count == nullptr || nvml.device == nullptr || nvml.count(&count) != 0) return cards;
  for (unsigned int index = 0; index < count; ++index) {
    NvmlCalls::Device device = nullptr;
    if (nvml.device(index, &device) == 0) cards.push_back(ReadCard(nvml, device));
  }
  return cards;
}

}  // namespace fttrain
