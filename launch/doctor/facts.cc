#include "launch/doctor/facts.h"

#include <nlohmann/json.hpp>

namespace fttrain {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Versions, torch_compiled, torch_loaded, mpi_compiled, mpi_loaded,
                                   with_cuda, cuda_compiled, cuda_loaded, cuda_driver,
                                   nccl_compiled, nccl_loaded)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RankFacts, rank, local_rank, local_size, host, pid, versions,
                                   usable_cores, host_cores, threads, shares_memory, device, gpu,
                                   uuid, capability, device_error, to_device_rate, from_device_rate,
                                   clock_seconds, environment)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DiskFacts, folder, tested, error, free_bytes, written_bytes,
                                   write_rate, fsync_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CardHolder, pid, bytes, graphics)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CardState, name, uuid, total_bytes, free_bytes, reserved_bytes,
                                   holders, sm_mhz, max_sm_mhz, memory_mhz, max_memory_mhz,
                                   held_back, link_generation, max_link_generation, link_width,
                                   max_link_width)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HolderFacts, pid, bytes, graphics, name)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CardFacts, card, holders)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GpuPath, from, to, direct)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HostFacts, host, total_bytes, available_bytes, numa_nodes,
                                   shm_bytes, shm_free_bytes, open_files, locked_bytes, iommu,
                                   iommu_words, bf16_gemm, bf16_error, cpu_features, has_nvml,
                                   driver, cards, gpu_paths, disk)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DirectionFacts, bytes, rate, wrong_bytes, first_wrong, waited)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PairFacts, a, b, latency_seconds, forward, backward)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SumFacts, bytes, seconds, bus_rate, wrong)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LinkFacts, transport, connected, error, all_pairs, pairs, sums)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Facts, program, world_size, ranks, hosts, links)

namespace {

// Names of processes and folders may be any bytes.
template <typename T>
std::string TextOf(const T& facts) {
  return nlohmann::json(facts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string ToText(const RankFacts& facts) { return TextOf(facts); }
std::string ToText(const HostFacts& facts) { return TextOf(facts); }
std::string ToText(const DiskFacts& facts) { return TextOf(facts); }
std::string ToText(const std::vector<CardState>& cards) { return TextOf(cards); }
std::string ToText(const DirectionFacts& facts) { return TextOf(facts); }

template <typename T>
T FactsFrom(const std::string& text) {
  return nlohmann::json::parse(text).get<T>();
}
template RankFacts FactsFrom(const std::string&);
template HostFacts FactsFrom(const std::string&);
template DiskFacts FactsFrom(const std::string&);
template std::vector<CardState> FactsFrom(const std::string&);
template DirectionFacts FactsFrom(const std::string&);

nlohmann::json ToJson(const Facts& facts) { return facts; }

}  // namespace fttrain
