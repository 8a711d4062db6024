#include "runtime/comm/shared_segment.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <thread>

namespace fttrain {
namespace {

bool AllAgree(bool mine, MPI_Comm comm) {
  int all = mine ? 1 : 0;
  return MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, comm) == MPI_SUCCESS && all == 1;
}

bool OnOneHost(MPI_Comm comm) {
  MPI_Comm host = MPI_COMM_NULL;
  int size = 0, host_size = 0;
  MPI_Comm_size(comm, &size);
  if (MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host) != MPI_SUCCESS) {
    return false;
  }
  MPI_Comm_size(host, &host_size);
  MPI_Comm_free(&host);
  return AllAgree(host_size == size, comm);
}

}  // namespace

// Under a name that rank 0 invents and removes again.
std::unique_ptr<SharedSegment> SharedSegment::Create(MPI_Comm comm, int64_t bytes) {
  if (!OnOneHost(comm)) return nullptr;
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  char name[64] = {};
  int file = -1;
  if (rank == 0) {
    int number = 0;
    do {
      std::snprintf(name, sizeof(name), "/fttrain-%d-%d", static_cast<int>(getpid()), ++number);
      file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    } while (file < 0 && errno == EEXIST);
    // Unlike ftruncate, this fails now rather than by a signal at the first touch.
    if (file >= 0 && posix_fallocate(file, 0, bytes) != 0) {
      close(file);
      file = -1;
    }
  }
  MPI_Bcast(name, sizeof(name), MPI_CHAR, 0, comm);
  const bool made = AllAgree(rank != 0 || file >= 0, comm);
  if (rank != 0 && made) file = shm_open(name, O_RDWR, 0);
  void* data = MAP_FAILED;
  if (made && file >= 0) {
    data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (file >= 0) close(file);
  const bool mapped = AllAgree(data != MAP_FAILED, comm);
  if (rank == 0) shm_unlink(name);
  if (mapped) {
    return std::unique_ptr<SharedSegment>(new SharedSegment(static_cast<char*>(data), bytes));
  }
  if (data != MAP_FAILED) munmap(data, static_cast<size_t>(bytes));
  return nullptr;
}

SharedSegment::~SharedSegment() { munmap(data_, static_cast<size_t>(bytes_)); }

void Patience::YieldOrSleep() {
  using std::chrono::microseconds;
  constexpr auto kBeforeSleep = microseconds(2000), kLongestSleep = microseconds(250);
  const auto now = std::chrono::steady_clock::now();
  if (began_ == decltype(began_)()) began_ = now;
  const auto waited = std::chrono::duration_cast<microseconds>(now - began_);
  if (waited < kBeforeSleep) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::min(waited / 32, kLongestSleep));
  }
}

}  // namespace fttrain
