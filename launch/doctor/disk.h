// The disk of a run's folder, tried.
#pragma once

#include <functional>
#include <string>

#include "launch/doctor/facts.h"

namespace fttrain {

struct DiskTrial {
  int64_t most_bytes = int64_t{128} << 20;
  double seconds = 1;  // for writing; a slow disk is left with less written
};

// Writes where `folder` is, or would be made, into a file that has no name by then: nothing is left
// behind, whatever happens. `moved` is called as it gets on.
DiskFacts TryDisk(const std::string& folder, const DiskTrial& trial,
                  const std::function<void()>& moved);

}  // namespace fttrain
