#include "launch/saving/disk.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

// A network file system may show a new file late to other hosts.
bool Appears(const std::string& path, bool other_host) {
  const absl::Time end = absl::Now() + absl::Seconds(other_host ? 5 : 0);
  std::error_code error;
  while (!fs::exists(path, error)) {
    if (absl::Now() >= end) return false;
    absl::SleepFor(absl::Milliseconds(100));
  }
  return true;
}

}  // namespace

int Disk::PlaceOf(int rank) const {
  return static_cast<int>(std::find(ranks.begin(), ranks.end(), rank) - ranks.begin());
}

absl::StatusOr<Disk> FindDisk(const std::string& folder, const Process& process) {
  const std::string nonce =
      process.BroadcastString(absl::StrCat(absl::Hex(std::random_device()())));
  const std::string probe = absl::StrCat(folder, "/.disk-", nonce);
  std::error_code error;
  fs::create_directories(folder, error);
  absl::Status made;
  if (error) {
    made = absl::UnavailableError(
        absl::StrCat("output_dir ", folder, ": cannot make it: ", error.message()));
  } else if (process.rank() == 0) {
    made = WriteFileAtomically(probe, "");
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made));
  const bool other_host = process.BroadcastString(process.host()) != process.host();
  const std::string mine = Appears(probe, other_host) ? "shared" : "of " + process.host();
  const std::vector<std::string> disks = process.GatherStrings(mine);
  if (process.rank() == 0) fs::remove(probe, error);
  Disk disk;
  for (int rank = 0; rank < process.world_size(); ++rank) {
    if (disks[static_cast<size_t>(rank)] == mine) disk.ranks.push_back(rank);
  }
  return disk;
}

}  // namespace fttrain
