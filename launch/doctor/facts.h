// What the doctor has measured, before anybody judges it. Ranks tell each other theirs as JSON,
// which is also what `--json` prints. -1 and empty: not known.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "runtime/process/gpu_paths.h"
#include "runtime/process/nvml.h"
#include "runtime/process/versions.h"

namespace fttrain {

struct RankFacts {
  int rank = 0, local_rank = 0, local_size = 1;
  std::string host;
  int64_t pid = 0;
  Versions versions;
  int usable_cores = 1, host_cores = 1, threads = 1;
  bool shares_memory = true;          // with the other ranks of its host
  std::string device = "cpu";         // or "cuda:0"
  std::string gpu, uuid, capability;  // its name, its number, "9.0"
  std::string device_error;           // why the device that was asked for cannot be used
  double to_device_rate = -1;         // bytes a second from pinned host memory
  double from_device_rate = -1;       // and back
  double clock_seconds = 0;           // the host's time of day, when all ranks looked at theirs
  std::map<std::string, std::string> environment;  // variables that steer MPI, NCCL and CUDA
};

struct DiskFacts {
  std::string folder;  // where a run would write
  std::string tested;  // the same, or its first parent that exists
  std::string error;   // in words
  int64_t free_bytes = -1;
  int64_t written_bytes = 0;
  double write_rate = -1;     // bytes a second until they are on the disk
  double fsync_seconds = -1;  // of a small file
};

struct HolderFacts {
  int64_t pid = 0;
  int64_t bytes = -1;
  bool graphics = false;
  std::string name;  // its command; empty: not of this container, or not to be seen
};

struct CardFacts {
  CardState card;  // before a rank opened a device; clocks and link after copies have warmed it
  std::vector<HolderFacts> holders;
};

struct HostFacts {
  std::string host;
  int64_t total_bytes = -1, available_bytes = -1, numa_nodes = 1;  // of memory
  int64_t shm_bytes = -1, shm_free_bytes = -1;                     // of /dev/shm; -1: there is none
  int64_t open_files = -1, locked_bytes = -1;                      // limits; -1: none
  bool iommu = false;
  std::string iommu_words;  // of the kernel's command line
  std::string bf16_gemm, bf16_error;
  std::vector<std::string> cpu_features;  // that multiply bfloat16
  bool has_nvml = false;
  std::string driver;  // "580.65.06"
  std::vector<CardFacts> cards;
  std::vector<GpuPath> gpu_paths;
  DiskFacts disk;
};

// Bytes one way between two ranks, as their receiver saw them.
struct DirectionFacts {
  int64_t bytes = 0;        // a transfer's
  double rate = -1;         // bytes a second, the best of several
  int64_t wrong_bytes = 0;  // of all that were compared
  int64_t first_wrong = -1;
  double waited = 0;  // the share of its time that the receiver was ready and had no core
};
struct PairFacts {
  int a = 0, b = 0;
  double latency_seconds = -1;       // one way
  DirectionFacts forward, backward;  // a to b, b to a
};
// An all_reduce of all ranks.
struct SumFacts {
  int64_t bytes = 0;
  double seconds = -1;              // the best of several
  double bus_rate = -1;             // bytes a second that each link of a ring would carry
  std::vector<int64_t> wrong = {};  // elements, by rank
};

struct LinkFacts {
  std::string transport;  // "NCCL", "MPI"; empty: nothing was tried
  bool connected = false;
  std::string error;  // why it is not
  int all_pairs = 0;
  std::vector<PairFacts> pairs;
  std::vector<SumFacts> sums;
};

struct Facts {
  std::string program;  // what was built
  int world_size = 1;
  std::vector<RankFacts> ranks;
  std::vector<HostFacts> hosts;
  LinkFacts links;
};

// Text is one line of JSON; it comes from this program.
std::string ToText(const RankFacts& facts);
std::string ToText(const HostFacts& facts);
std::string ToText(const DiskFacts& facts);
std::string ToText(const std::vector<CardState>& cards);
std::string ToText(const DirectionFacts& facts);
template <typename T>
T FactsFrom(const std::string& text);
nlohmann::json ToJson(const Facts& facts);

}  // namespace fttrain
