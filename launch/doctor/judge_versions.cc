#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "launch/doctor/judge.h"

namespace fttrain {
namespace {

int Major(const std::string& version) { return std::atoi(version.c_str()); }

// "4.1" of "4.1.4".
std::string Series(const std::string& version) {
  const size_t first = version.find('.');
  return version.substr(0, version.find('.', first == std::string::npos ? first : first + 1));
}

Finding Mismatch(const std::string& library, const std::string& compiled, const std::string& loaded,
                 const std::string& fix) {
  return {Severity::kError, "versions",
          absl::StrCat("compiled for ", library, " ", compiled, ", but ", loaded, " was loaded"),
          fix, kExitUsage};
}

void JudgeMpi(const Versions& versions, Findings& findings) {
  const std::string &compiled = versions.mpi_compiled, &loaded = versions.mpi_loaded;
  if (compiled.empty() || loaded.empty()) {
    findings.push_back({Severity::kWarning, "versions",
                        "the MPI library is not Open MPI: nobody has tried that",
                        "use Open MPI 4.1 or newer"});
  } else if (Series(compiled) != Series(loaded)) {
    findings.push_back(Mismatch("Open MPI", compiled, loaded,
                                "take mpirun and libmpi.so of one installation: look at PATH and "
                                "LD_LIBRARY_PATH, or build anew"));
  } else if (compiled != loaded) {
    findings.push_back({Severity::kNote, "versions",
                        absl::StrCat("compiled for Open MPI ", compiled, ", ", loaded,
                                     " of the same series was loaded")});
  }
}

void JudgeCuda(const Versions& versions, Findings& findings) {
  if (!versions.with_cuda) return;
  if (versions.nccl_compiled != versions.nccl_loaded) {
    findings.push_back(
        Mismatch("NCCL", versions.nccl_compiled,
                 versions.nccl_loaded.empty() ? "none that answers" : versions.nccl_loaded,
                 "LD_LIBRARY_PATH must not name another libnccl.so.2"));
  }
  const std::string &runtime = versions.cuda_loaded, &driver = versions.cuda_driver;
  if (!driver.empty() && Major(driver) < Major(runtime)) {
    findings.push_back(
        {Severity::kError, "versions",
         absl::StrCat("the driver serves CUDA ", driver, " at most, this program uses ", runtime),
         absl::StrCat("install a driver for CUDA ", Major(runtime), " or newer"), kExitUsage});
  }
}

std::string Line(const Facts& facts, const Versions& versions) {
  std::string text = absl::StrCat(facts.program, "; LibTorch ", versions.torch_loaded,
                                  ", Open MPI ", versions.mpi_loaded);
  if (!versions.cuda_loaded.empty()) absl::StrAppend(&text, ", CUDA ", versions.cuda_loaded);
  if (!versions.nccl_loaded.empty()) absl::StrAppend(&text, ", NCCL ", versions.nccl_loaded);
  for (const HostFacts& host : facts.hosts) {
    if (host.driver.empty()) continue;
    return absl::StrCat(text, ", driver ", host.driver);
  }
  return text;
}

}  // namespace

Findings JudgeVersions(const Facts& facts) {
  if (facts.ranks.empty()) return {};
  const Versions& versions = facts.ranks[0].versions;
  Findings findings = {{Severity::kOk, "versions", Line(facts, versions)}};
  if (versions.torch_compiled != versions.torch_loaded) {
    findings.push_back(
        Mismatch("LibTorch", versions.torch_compiled, versions.torch_loaded,
                 "LD_LIBRARY_PATH must not name another torch; or build with this one"));
  }
  JudgeMpi(versions, findings);
  JudgeCuda(versions, findings);
  std::vector<int> others;
  for (const RankFacts& rank : facts.ranks) {
    if (!(rank.versions == versions)) others.push_back(rank.rank);
  }
  if (!others.empty()) {
    findings.push_back({Severity::kError, "versions",
                        absl::StrCat(RanksText(others), " on ", facts.ranks[others[0]].host,
                                     " and rank 0 have other libraries or another program"),
                        "put the same build on every host; --json has the versions of each",
                        kExitRanksDisagree});
  }
  return findings;
}

}  // namespace fttrain
