#include "runtime/host_exchange.h"

#include <c10/core/ScalarType.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "runtime/reduce.h"

namespace fttrain {
namespace {

// Of one area: large enough for few meetings, small enough to stay in a core's cache.
constexpr int64_t kAreaBytes = int64_t{1} << 18;
constexpr int64_t kLineBytes = 64;
// Looks at a peer's counter before the core is offered to others; a few microseconds. No pause
// instruction in between: in a virtual machine each costs more than the whole exchange of a small
// tensor.
constexpr int kLooksBeforeYield = 4000;

int64_t SegmentBytes(int size) { return size * (kLineBytes + 2 * kAreaBytes); }

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

// A segment of `bytes` under a name that rank 0 invents and removes again; null if that fails
// anywhere.
void* MapSegment(int rank, int64_t bytes, MPI_Comm comm) {
  static std::atomic<int> created{0};
  char name[64] = {};
  int file = -1;
  if (rank == 0) {
    std::snprintf(name, sizeof(name), "/fttrain-%d-%d", static_cast<int>(getpid()), ++created);
    file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    // Unlike ftruncate, this fails now rather than by a signal at the first touch.
    if (file >= 0 && posix_fallocate(file, 0, bytes) != 0) {
      close(file);
      file = -1;
    }
  }
  MPI_Bcast(name, sizeof(name), MPI_CHAR, 0, comm);
  const bool made = AllAgree(rank != 0 || file >= 0, comm);
  if (rank != 0 && made) file = shm_open(name, O_RDWR, 0);
  void* segment = MAP_FAILED;
  if (made && file >= 0) {
    segment =
        mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  if (file >= 0) close(file);
  const bool mapped = AllAgree(segment != MAP_FAILED, comm);
  if (rank == 0) shm_unlink(name);
  if (mapped) return segment;
  if (segment != MAP_FAILED) munmap(segment, static_cast<size_t>(bytes));
  return nullptr;
}

// Copies, unless source and destination are the same place.
void Copy(void* to, const void* from, int64_t bytes) {
  if (to != from && bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

}  // namespace

std::unique_ptr<HostExchange> HostExchange::Create(MPI_Comm comm, std::function<void()> poll) {
  int rank = 0, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  if (size == 1 || !OnOneHost(comm)) return nullptr;
  void* segment = MapSegment(rank, SegmentBytes(size), comm);
  if (segment == nullptr) return nullptr;
  return std::unique_ptr<HostExchange>(new HostExchange(rank, size, segment, std::move(poll)));
}

HostExchange::HostExchange(int rank, int size, void* segment, std::function<void()> poll)
    : rank_(rank),
      size_(size),
      segment_(static_cast<char*>(segment)),
      poll_(std::move(poll)),
      parts_(static_cast<size_t>(size)) {}

HostExchange::~HostExchange() { munmap(segment_, static_cast<size_t>(SegmentBytes(size_))); }

std::atomic<uint64_t>& HostExchange::ArrivalsOf(int rank) const {
  // The kernel hands out zeroed pages, which is a valid counter at 0.
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  return *reinterpret_cast<std::atomic<uint64_t>*>(segment_ + rank * kLineBytes);
}

char* HostExchange::AreaOf(int rank, uint64_t meeting) const {
  const int64_t area = 2 * rank + static_cast<int64_t>(meeting % 2);
  return segment_ + size_ * kLineBytes + area * kAreaBytes;
}

void HostExchange::Meet() {
  ++meeting_;
  ArrivalsOf(rank_).store(meeting_, std::memory_order_release);
  for (int p = 0; p < size_; ++p) {
    if (p == rank_) continue;
    const std::atomic<uint64_t>& arrivals = ArrivalsOf(p);
    for (int looks = 0; arrivals.load(std::memory_order_acquire) < meeting_; ++looks) {
      if (looks < kLooksBeforeYield) continue;
      poll_();
      sched_yield();
    }
  }
}

void HostExchange::Reduce(c10::ScalarType dtype, ReduceOp op, const void* own, int64_t offset,
                          int64_t elements, void* out) {
  for (int p = 0; p < size_; ++p) {
    parts_[static_cast<size_t>(p)] = p == rank_ ? own : Of(p) + offset;
  }
  ReduceBuffers(dtype, op, parts_.data(), size_, elements, out);
}

void HostExchange::AllReduce(c10::ScalarType dtype, ReduceOp op, void* data, int64_t elements) {
  const int64_t element = static_cast<int64_t>(c10::elementSize(dtype));
  auto* at = static_cast<char*>(data);
  const int64_t round = kAreaBytes / element;
  for (int64_t begin = 0; begin < elements; begin += round) {
    char* here = at + begin * element;
    const int64_t count = std::min(round, elements - begin);
    // Rank p adds elements [p, p + 1) * each of the round.
    const int64_t each = (count + size_ - 1) / size_;
    const auto start = [&](int p) { return std::min(count, p * each) * element; };
    const auto bytes = [&](int p) { return start(p + 1) - start(p); };
    for (int p = 0; p < size_; ++p) {
      if (p != rank_) Copy(Mine() + start(p), here + start(p), bytes(p));
    }
    Meet();
    char* sum = Mine();
    Reduce(dtype, op, here + start(rank_), start(rank_), bytes(rank_) / element, sum);
    Copy(here + start(rank_), sum, bytes(rank_));
    Meet();
    for (int p = 0; p < size_; ++p) {
      if (p != rank_) Copy(here + start(p), Of(p), bytes(p));
    }
  }
}

void HostExchange::AllGather(const void* input, void* output, int64_t bytes) {
  const auto* from = static_cast<const char*>(input);
  auto* to = static_cast<char*>(output);
  Copy(to + rank_ * bytes, from, bytes);
  for (int64_t begin = 0; begin < bytes; begin += kAreaBytes) {
    const int64_t count = std::min(kAreaBytes, bytes - begin);
    Copy(Mine(), from + begin, count);
    Meet();
    for (int p = 0; p < size_; ++p) {
      if (p != rank_) Copy(to + p * bytes + begin, Of(p), count);
    }
  }
}

void HostExchange::ReduceScatter(c10::ScalarType dtype, const void* input, void* output,
                                 int64_t elements) {
  const int64_t element = static_cast<int64_t>(c10::elementSize(dtype));
  const auto* from = static_cast<const char*>(input);
  auto* to = static_cast<char*>(output);
  // An area holds a piece for each of the ranks.
  const int64_t round = kAreaBytes / element / size_;
  for (int64_t begin = 0; begin < elements; begin += round) {
    const int64_t count = std::min(round, elements - begin);
    for (int p = 0; p < size_; ++p) {
      if (p == rank_) continue;
      Copy(Mine() + p * count * element, from + (p * elements + begin) * element, count * element);
    }
    Meet();
    Reduce(dtype, ReduceOp::kSum, from + (rank_ * elements + begin) * element,
           rank_ * count * element, count, to + begin * element);
  }
}

}  // namespace fttrain
