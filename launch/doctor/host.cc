#include "launch/doctor/host.h"

#include <c10/util/Exception.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/matmul/matmul.h"
#include "runtime/process/device.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;

// Enough to know a program by; what follows may be nobody's business.
constexpr size_t kMostName = 60;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int64_t TotalMemory(const std::string& proc) {
  std::istringstream file(Read(absl::StrCat(proc, "/meminfo")));
  for (std::string word; file >> word;) {
    int64_t kibibytes = 0;
    if (word == "MemTotal:" && file >> kibibytes) return kibibytes * 1024;
  }
  return -1;
}

int NumaNodes(const std::string& sys) {
  int nodes = 0;
  std::error_code error;
  for (const auto& entry :
       fs::directory_iterator(absl::StrCat(sys, "/devices/system/node"), error)) {
    const std::string name = entry.path().filename().string();
    int number = 0;
    nodes += absl::StartsWith(name, "node") && absl::SimpleAtoi(name.substr(4), &number) ? 1 : 0;
  }
  return std::max(nodes, 1);
}

int64_t Limit(int which) {
  rlimit limit = {};
  if (getrlimit(static_cast<__rlimit_resource>(which), &limit) != 0) return -1;
  return limit.rlim_cur == RLIM_INFINITY ? -1 : static_cast<int64_t>(limit.rlim_cur);
}

std::vector<std::string> CpuFeaturesFor16Bits(const std::string& proc) {
  std::istringstream file(Read(absl::StrCat(proc, "/cpuinfo")));
  std::vector<std::string> features;
  for (std::string line; std::getline(file, line);) {
    if (!absl::StartsWith(line, "flags")) continue;
    for (const absl::string_view word : absl::StrSplit(line, ' ')) {
      const bool counts = word == "avx2" || word == "avx512f" || word == "avx512_bf16" ||
                          word == "amx_bf16" || word == "amx_tile";
      if (counts) features.emplace_back(word);
    }
    break;  // cores are alike
  }
  return features;
}

}  // namespace

std::string IommuWords(const std::string& command_line) {
  std::vector<std::string> words;
  for (const absl::string_view word : absl::StrSplit(command_line, absl::ByAnyChar(" \n"))) {
    if (absl::StrContains(word, "iommu")) words.emplace_back(word);
  }
  return absl::StrJoin(words, " ");
}

HostFacts LookAtHost(const std::string& name, const HostRoots& roots) {
  HostFacts facts;
  facts.host = name;
  facts.total_bytes = TotalMemory(roots.proc);
  facts.available_bytes = FreeMemoryBytes(c10::Device(c10::kCPU));
  facts.numa_nodes = NumaNodes(roots.sys);
  struct statvfs shm = {};
  if (statvfs(roots.shm.c_str(), &shm) == 0) {
    facts.shm_bytes = static_cast<int64_t>(shm.f_blocks) * static_cast<int64_t>(shm.f_frsize);
    facts.shm_free_bytes = static_cast<int64_t>(shm.f_bavail) * static_cast<int64_t>(shm.f_frsize);
  }
  facts.open_files = Limit(RLIMIT_NOFILE);
  facts.locked_bytes = Limit(RLIMIT_MEMLOCK);
  std::error_code error;
  const std::string iommu = absl::StrCat(roots.sys, "/class/iommu");
  facts.iommu = fs::is_directory(iommu, error) && !fs::is_empty(iommu, error);
  facts.iommu_words = IommuWords(Read(absl::StrCat(roots.proc, "/cmdline")));
  facts.cpu_features = CpuFeaturesFor16Bits(roots.proc);
  try {
    facts.bf16_gemm = Bf16GemmName(DefaultBf16Gemm());
  } catch (const c10::Error& bad_variable) {
    facts.bf16_error = bad_variable.what_without_backtrace();
  }
  return facts;
}

std::vector<CardFacts> WithNames(std::vector<CardState> cards, const HostRoots& roots) {
  std::vector<CardFacts> named;
  for (CardState& card : cards) {
    CardFacts facts;
    for (const CardHolder& holder : card.holders) {
      std::string name = Read(absl::StrCat(roots.proc, "/", holder.pid, "/cmdline"));
      std::replace(name.begin(), name.end(), '\0', ' ');
      while (!name.empty() && name.back() == ' ') name.pop_back();
      name.resize(std::min(name.size(), kMostName));
      facts.holders.push_back({holder.pid, holder.bytes, holder.graphics, name});
    }
    facts.card = std::move(card);
    named.push_back(std::move(facts));
  }
  return named;
}

void TakeClocks(const std::vector<CardState>& after, std::vector<CardFacts>& before) {
  for (CardFacts& facts : before) {
    for (const CardState& card : after) {
      if (card.uuid != facts.card.uuid) continue;
      facts.card.sm_mhz = card.sm_mhz;
      facts.card.memory_mhz = card.memory_mhz;
      facts.card.held_back = card.held_back;
      facts.card.link_generation = card.link_generation;
      facts.card.link_width = card.link_width;
    }
  }
}

}  // namespace fttrain
