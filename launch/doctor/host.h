// What a host has, read from its own files and calls.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/facts.h"

namespace fttrain {

struct HostRoots {
  std::string proc = "/proc", sys = "/sys", shm = "/dev/shm";  // or a test's
};

// Without cards, GPUs and disk.
HostFacts LookAtHost(const std::string& name, const HostRoots& roots = {});

// With the names of who holds their memory, as far as this process may see them.
std::vector<CardFacts> WithNames(std::vector<CardState> cards, const HostRoots& roots = {});

// Cards of `before` with the clocks and the link of those of `after`, by uuid.
void TakeClocks(const std::vector<CardState>& after, std::vector<CardFacts>& before);

// "iommu=pt intel_iommu=on" of a kernel's command line. Pure.
std::string IommuWords(const std::string& command_line);

}  // namespace fttrain
