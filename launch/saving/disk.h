// Which ranks see the same output folder: on a cluster without a shared disk every host has its
// own.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/process/process.h"

namespace fttrain {

struct Disk {
  std::vector<int> ranks;  // that see this rank's folder, ascending, itself too

  int leader() const { return ranks.front(); }
  // This rank's place among them.
  int PlaceOf(int rank) const;
};

// Makes the folder where it is not there; every rank leaves a file there for a moment, and looks
// for those of the others. Agrees on errors: Unavailable. Collective over the world.
absl::StatusOr<Disk> FindDisk(const std::string& folder, const Process& process);

}  // namespace fttrain
