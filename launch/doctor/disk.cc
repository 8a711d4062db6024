#include "launch/doctor/disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/files/user_path.h"

namespace fttrain {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

class TrialFile {
 public:
  explicit TrialFile(const std::string& folder) {
    std::string path = absl::StrCat(folder, "/.fttrain-doctor-XXXXXX");
    file_ = mkostemp(path.data(), O_CLOEXEC);
    if (file_ >= 0) unlink(path.c_str());
  }
  ~TrialFile() {
    if (file_ >= 0) close(file_);
  }
  TrialFile(const TrialFile&) = delete;
  TrialFile& operator=(const TrialFile&) = delete;

  bool is_open() const { return file_ >= 0; }
  bool Write(const std::vector<char>& bytes) const {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t n = write(file_, bytes.data() + done, bytes.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      done += static_cast<size_t>(n);
    }
    return true;
  }
  bool Sync() const { return fsync(file_) == 0; }

 private:
  int file_ = -1;
};

// False with errno where a call fails.
bool WriteMuch(const TrialFile& file, const DiskTrial& trial, const std::function<void()>& moved,
               DiskFacts& facts) {
  std::vector<char> block(4 << 20);
  // Not zeros, which some disks do not write.
  for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 2654435761u >> 13);
  const Clock::time_point begin = Clock::now();
  while (facts.written_bytes < trial.most_bytes && SecondsSince(begin) < trial.seconds) {
    if (!file.Write(block)) return false;
    facts.written_bytes += static_cast<int64_t>(block.size());
    moved();
  }
  if (!file.Sync()) return false;
  facts.write_rate = static_cast<double>(facts.written_bytes) / SecondsSince(begin);
  return true;
}

bool SyncOften(const TrialFile& file, const DiskTrial& trial, const std::function<void()>& moved,
               DiskFacts& facts) {
  constexpr int kTimes = 9;
  const std::vector<char> little(4096, 'f');
  std::vector<double> seconds;
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kTimes && SecondsSince(begin) < trial.seconds; ++i) {
    const Clock::time_point before = Clock::now();
    if (!file.Write(little) || !file.Sync()) return false;
    seconds.push_back(SecondsSince(before));
    moved();
  }
  std::sort(seconds.begin(), seconds.end());
  if (!seconds.empty()) facts.fsync_seconds = seconds[seconds.size() / 2];
  return true;
}

}  // namespace

DiskFacts TryDisk(const std::string& folder, const DiskTrial& trial,
                  const std::function<void()>& moved) {
  DiskFacts facts;
  facts.folder = folder;
  facts.tested = ExistingFolder(folder);
  struct statvfs space = {};
  if (statvfs(facts.tested.c_str(), &space) == 0) {
    facts.free_bytes = static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
  }
  const TrialFile file(facts.tested);
  const char* what = "make a file";
  bool ok = file.is_open();
  if (ok) {
    what = "write";
    ok = WriteMuch(file, trial, moved, facts) && SyncOften(file, trial, moved, facts);
  }
  if (!ok) facts.error = absl::StrCat("cannot ", what, " there: ", std::strerror(errno));
  return facts;
}

}  // namespace fttrain
