// System calls of which one fails.
#pragma once

#include <algorithm>
#include <cerrno>

#include "runtime/files/system_calls.h"

namespace fttrain {

// The real calls, but that the `fails`-th (from 0 on) says `error`:
//   EINTR          nothing is done; but a close closes, as on Linux
//   0              a write or read moves half of its bytes; other calls do as ever
//   other          nothing is done; with `done_although`, it is (an answer of a file server was
//   lost)
// fsync says that it is done without waiting for the disk: no test here can tell.
class FailingSystemCalls : public SystemCalls {
 public:
  int fails = -1, error = 0;
  bool done_although = false, for_good = false;
  int calls = 0;  // so far

  int Open(const char* path, int flags, mode_t mode) override {
    const bool opens = !Next() || done_although || error == 0;
    const int fd = opens ? SystemCalls::Open(path, flags, mode) : -1;
    if (!failed_ || error == 0) return fd;
    if (fd >= 0) SystemCalls::Close(fd);
    return Fail();
  }
  int Reserve(int fd, int64_t size_bytes) override {
    return Call([&] { return SystemCalls::Reserve(fd, size_bytes); });
  }
  ssize_t Write(int fd, const void* data, size_t size_bytes) override {
    if (Next() && error != 0 && !done_although) return Fail();
    if (failed_) size_bytes = std::max<size_t>(1, size_bytes / 2);
    const ssize_t wrote = SystemCalls::Write(fd, data, size_bytes);
    return failed_ && error != 0 ? Fail() : wrote;
  }
  ssize_t Read(int fd, void* destination, size_t size_bytes, int64_t offset) override {
    if (Next() && error != 0) return Fail();
    if (failed_) size_bytes = std::max<size_t>(1, size_bytes / 2);
    return SystemCalls::Read(fd, destination, size_bytes, offset);
  }
  int Sync(int) override {
    return Call([] { return 0; });
  }
  int Close(int fd) override {
    Next();
    const int closed = SystemCalls::Close(fd);
    return failed_ && error != 0 ? Fail() : closed;
  }
  int StatOpen(int fd, struct stat* info) override {
    return Call([&] { return SystemCalls::StatOpen(fd, info); });
  }
  int StatEntry(const char* path, struct stat* info) override {
    return Call([&] { return SystemCalls::StatEntry(path, info); });
  }
  int MakeFolder(const char* path) override {
    return Call([&] { return SystemCalls::MakeFolder(path); });
  }
  int RenameNoReplace(const char* from, const char* to) override {
    return Call([&] { return SystemCalls::RenameNoReplace(from, to); });
  }
  int Rename(const char* from, const char* to) override {
    return Call([&] { return SystemCalls::Rename(from, to); });
  }
  int RemoveFile(const char* path) override {
    return Call([&] { return SystemCalls::RemoveFile(path); });
  }
  int RemoveFolder(const char* path) override {
    return Call([&] { return SystemCalls::RemoveFolder(path); });
  }
  int List(const char* path, std::vector<std::string>* names) override {
    return Call([&] { return SystemCalls::List(path, names); });
  }

 private:
  bool Next() {
    const int now = calls++;
    return failed_ = now == fails || (for_good && fails >= 0 && now > fails);
  }
  int Fail() {
    errno = error;
    return -1;
  }
  template <typename Real>
  int Call(const Real& real) {
    const bool does = !Next() || done_although || error == 0;
    const int result = does ? real() : -1;
    return failed_ && error != 0 ? Fail() : result;
  }

  bool failed_ = false;
};

}  // namespace fttrain
