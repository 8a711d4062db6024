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
  const auto probe = [&](int rank) { return absl::StrCat(folder, "/.disk-", nonce, "-", rank); };
  const int me = process.rank();
  std::error_code error;
  fs::create_directories(folder, error);
  absl::Status made;
  if (error) {
    made = absl::UnavailableError(
        absl::StrCat("output_dir ", folder, ": cannot make it: ", error.message()));
  } else {
    made = WriteFileAtomically(probe(me), "");
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made));
  const bool other_host = process.BroadcastString(process.host()) != process.host();
  int first = 0;
  if (me > 0 && !Appears(probe(0), other_host)) {
    for (first = 1; first < me && !fs::exists(probe(first), error);) ++first;
  }
  const std::vector<std::string> firsts = process.GatherStrings(absl::StrCat(first));
  fs::remove(probe(me), error);
  Disk disk;
  for (int rank = 0; rank < process.world_size(); ++rank) {
    if (firsts[static_cast<size_t>(rank)] == firsts[static_cast<size_t>(me)])
      disk.ranks.push_back(rank);
  }
  return disk;
}

}  // namespace fttrain
