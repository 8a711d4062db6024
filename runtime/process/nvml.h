// What the NVIDIA driver's management library tells of the cards of this host, visible to CUDA or
// not. It comes with the driver, so it is looked for when the program runs and never linked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fttrain {

// A process that has memory of a card. Inside a container its number may be one of outside.
struct CardHolder {
  int64_t pid = 0;
  int64_t bytes = -1;     // -1: not told
  bool graphics = false;  // a desktop, a browser
};

// -1 and empty: not told. A Card is a kind of them (launch/plan/cards.h).
struct CardState {
  std::string name;
  std::string uuid;  // as Gpu::uuid of device.h
  int64_t total_bytes = -1, free_bytes = -1;
  // What the driver keeps for itself, on a card of a data centre more than a desktop takes: neither
  // free nor any process's. -1: an older driver counts it as taken.
  int64_t reserved_bytes = -1;
  std::vector<CardHolder> holders = {};  // those with most memory first
  int sm_mhz = -1, max_sm_mhz = -1, memory_mhz = -1, max_memory_mhz = -1;
  uint64_t held_back = 0;                              // why clocks are low: bits of HeldBack
  int link_generation = -1, max_link_generation = -1;  // of PCIe; an idle card lowers its own
  int link_width = -1, max_link_width = -1;            // lanes
};

// Bits of CardState::held_back (NVML API reference, nvmlClocksEventReasons).
struct HeldBack {
  static constexpr uint64_t kPowerCap = 0x4, kHardware = 0x8, kHeat = 0x20, kHardwareHeat = 0x40,
                            kPowerBrake = 0x80;
};

// The library's functions that are used here, as it declares them: each returns 0 on success. Null
// members are functions that this driver does not have.
struct NvmlCalls {
  using Device = void *;
  struct Memory {
    unsigned long long total, free, used;
  };
  struct MemoryV2 {
    unsigned int version;  // kMemoryV2, before the call
    unsigned long long total, reserved, free, used;
  };
  static constexpr unsigned int kMemoryV2 = sizeof(MemoryV2) | (2U << 24);
  struct Process {  // the form of its _v2 and _v3 functions
    unsigned int pid;
    unsigned long long used_bytes;
    unsigned int gpu_instance, compute_instance;
  };
  using Text = int(Device, char *, unsigned int length);
  using Number = int(Device, unsigned int *);
  using NumberOf = int(Device, unsigned int which, unsigned int *);
  using Processes = int(Device, unsigned int *count, Process *);

  int (*driver_version)(char *, unsigned int length) = nullptr;
  int (*count)(unsigned int *) = nullptr;
  int (*device)(unsigned int index, Device *) = nullptr;
  Text *name = nullptr, *uuid = nullptr;
  int (*memory)(Device, Memory *) = nullptr;
  int (*memory_v2)(Device, MemoryV2 *) = nullptr;
  Processes *compute = nullptr, *graphics = nullptr;
  NumberOf *clock = nullptr, *max_clock = nullptr;  // which: 1 SM, 2 memory
  int (*held_back)(Device, unsigned long long *) = nullptr;
  Number *link_generation = nullptr, *max_link_generation = nullptr;
  Number *link_width = nullptr, *max_link_width = nullptr;
};

// Null where there is no driver, or it does not answer. The library stays loaded.
std::optional<NvmlCalls> LoadNvml(const char *library = "libnvidia-ml.so.1");

// Whether a value of CUDA_VISIBLE_DEVICES names no card: CUDA takes those before the first that it
// does not know, as -1 and the words of schedulers are (CUDA programming guide, environment
// variables). Schedulers set it to 0,1 where cards are given.
bool HidesAllGpus(const std::string &visible);

std::string DriverVersion(const NvmlCalls &nvml);  // "580.65.06"
std::vector<CardState> ReadCards(const NvmlCalls &nvml);

}  // namespace fttrain
