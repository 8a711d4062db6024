#include "launch/doctor/rank.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

extern char** environ;

namespace fttrain {
namespace {

constexpr int64_t kCopyBytes = int64_t{64} << 20;

// Bytes a second of copies `to` <- `from`; the best of several.
double CopyRate(const at::Tensor& from, at::Tensor to, c10::Device device) {
  constexpr int kTimes = 4;
  double best = 0;
  for (int i = 0; i < kTimes; ++i) {
    SynchronizeDevice(device);
    const auto begin = std::chrono::steady_clock::now();
    to.copy_(from, /*non_blocking=*/true);
    SynchronizeDevice(device);
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(from.nbytes()) / passed.count());
  }
  return best;
}

void MeasureCopies(c10::Device device, RankFacts& facts) {
  const at::Tensor host = at::zeros({kCopyBytes}, at::TensorOptions(at::kByte).pinned_memory(true));
  const at::Tensor there = at::empty({kCopyBytes}, at::TensorOptions(at::kByte).device(device));
  facts.to_device_rate = CopyRate(host, there, device);
  facts.from_device_rate = CopyRate(there, host, device);
}

// What steers the libraries between ranks. Other variables are nobody's business.
std::map<std::string, std::string> Steering() {
  std::map<std::string, std::string> found;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = text.substr(0, equals);
    const bool counts = absl::StartsWith(name, "NCCL_") || absl::StartsWith(name, "OMPI_MCA_btl") ||
                        absl::StartsWith(name, "OMPI_MCA_pml") ||
                        absl::StartsWith(name, "CUDA_VISIBLE") || name == "OMP_NUM_THREADS" ||
                        absl::StartsWith(name, "FTTRAIN_");
    if (counts) found[name] = text.substr(equals + 1);
  }
  return found;
}

}  // namespace

RankLook LookAtRank(DeviceKind kind, const Process& process, const GpuRuntime& gpus) {
  RankLook look;
  RankFacts& facts = look.facts;
  facts.rank = process.rank();
  facts.local_rank = process.local_rank();
  facts.local_size = process.local_size();
  facts.host = process.host();
  facts.pid = getpid();
  facts.versions = VersionsInUse();
  facts.host_cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  facts.environment = Steering();
  const absl::StatusOr<c10::Device> device = SelectDevice(kind, process, gpus);
  if (!device.ok()) facts.device_error = std::string(device.status().message());
  if (device.ok()) look.device = *device;
  if (look.device.is_cuda()) {
    const Gpu gpu = gpus.Describe(look.device.index());
    facts.device = absl::StrCat("cuda:", static_cast<int>(look.device.index()));
    facts.gpu = gpu.name;
    facts.uuid = gpu.uuid;
    facts.capability = absl::StrCat(gpu.major, ".", gpu.minor);
    MeasureCopies(look.device, facts);
  }
  // A GPU binds its rank to the cores near it.
  facts.usable_cores = UsableCores();
  facts.threads = at::get_num_threads();
  return look;
}

}  // namespace fttrain
