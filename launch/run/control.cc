#include "launch/run/control.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kSave = 1;
constexpr int64_t kFirstStop = 2;
// By increasing weight.
constexpr std::array<std::string_view, 4> kWhoStops = {"SIGINT", "SIGTERM", "SIGUSR1", "STOP"};

// A folder or a link of that name is not a request.
bool IsFile(const std::string& path) {
  struct stat info;
  return !path.empty() && lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

int64_t EncodeRequests(const Requests& requests) {
  if (!requests.stop) return requests.save ? kSave : 0;
  int64_t code = kFirstStop;
  for (size_t i = 0; i < kWhoStops.size(); ++i) {
    if (kWhoStops[i] == requests.by) code = kFirstStop + static_cast<int64_t>(i);
  }
  return code;
}

Requests DecodeRequests(int64_t code) {
  Requests requests;
  const int64_t who = code - kFirstStop;
  requests.stop = who >= 0 && who < std::ssize(kWhoStops);
  requests.save = requests.stop || code == kSave;
  if (requests.stop) requests.by = kWhoStops[static_cast<size_t>(who)];
  return requests;
}

Control::Control(StopSignals* signals, std::string folder, std::chrono::milliseconds between_looks)
    : signals_(signals), between_looks_(between_looks) {
  if (folder.empty()) return;
  stop_.path = absl::StrCat(folder, "/STOP");
  save_.path = absl::StrCat(folder, "/SAVE");
}

Requests Control::Look() {
  Requests requests;
  if (signals_ != nullptr) {
    const StopSignals::Requests asked = signals_->Look();
    requests.stop = asked.stop;
    requests.save = asked.save;
    if (asked.signal != nullptr) requests.by = asked.signal;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now >= next_look_) {
    next_look_ = now + between_looks_;
    if (save_.counts && IsFile(save_.path)) requests.save = true;
    if (stop_.counts && IsFile(stop_.path)) {
      requests.stop = true;
      requests.by = "STOP";
    }
  }
  requests.save |= requests.stop;
  return requests;
}

void Control::Done(const Requests& requests) {
  if (requests.save || requests.stop) Remove(save_);
  if (requests.stop) Remove(stop_);
}

void Control::Remove(File& file) {
  if (!file.counts || !IsFile(file.path) || unlink(file.path.c_str()) == 0) return;
  file.counts = false;
  LogInfo(absl::StrCat("warning    cannot remove ", file.path, ": ", std::strerror(errno),
                       "; remove it yourself, this run does not look at it any more"));
}

}  // namespace fttrain
