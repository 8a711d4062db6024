#include "runtime/comm/host_exchange.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/comm/operation_name.h"
#include "runtime/comm/reduce.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

// Of one area: large enough for few meetings, small enough to stay in a core's cache.
constexpr int64_t kAreaBytes = int64_t{1} << 18;

int64_t SegmentBytes(int size) { return size * (kAlignmentBytes + 2 * kAreaBytes); }

// Copies, unless source and destination are the same place.
void Copy(void* to, const void* from, int64_t bytes) {
  if (to != from && bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

// An operation in 64 bits: which, of what dtype, how it adds, how many bytes.
uint64_t Purpose(Collective operation, c10::ScalarType dtype, ReduceOp op, int64_t bytes) {
  const auto kind = static_cast<uint64_t>(operation) * 16 + static_cast<uint64_t>(op) * 8 +
                    static_cast<uint64_t>(DtypeNumber(dtype));
  return kind << 56 | static_cast<uint64_t>(bytes);
}

std::string InWords(uint64_t purpose) {
  const uint64_t kind = purpose >> 56;
  const bool largest = kind / 8 % 2 == static_cast<uint64_t>(ReduceOp::kMax);
  return absl::StrCat(OperationName(static_cast<Collective>(kind / 16), static_cast<int>(kind % 8)),
                      largest ? " (the largest)" : "", ", ", purpose << 8 >> 8, " bytes");
}

}  // namespace

std::unique_ptr<HostExchange> HostExchange::Create(MPI_Comm comm, std::function<void()> poll) {
  int rank = 0, size = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  if (size == 1) return nullptr;
  std::unique_ptr<SharedSegment> segment = SharedSegment::Create(comm, SegmentBytes(size));
  if (segment == nullptr) return nullptr;
  return std::unique_ptr<HostExchange>(
      new HostExchange(rank, size, std::move(segment), std::move(poll)));
}

HostExchange::HostExchange(int rank, int size, std::unique_ptr<SharedSegment> segment,
                           std::function<void()> poll)
    : rank_(rank),
      size_(size),
      segment_(std::move(segment)),
      poll_(std::move(poll)),
      parts_(static_cast<size_t>(size)) {}

std::atomic<uint64_t>& HostExchange::ArrivalsOf(int rank) const {
  return segment_->CounterAt(rank * kAlignmentBytes);
}

char* HostExchange::AreaOf(int rank, uint64_t meeting) const {
  const int64_t area = 2 * rank + static_cast<int64_t>(meeting % 2);
  return segment_->data() + size_ * kAlignmentBytes + area * kAreaBytes;
}

std::atomic<uint64_t>& HostExchange::PurposeOf(int rank, uint64_t meeting) const {
  const auto turn = static_cast<int64_t>(meeting % 2);
  return segment_->CounterAt(rank * kAlignmentBytes +
                             (1 + turn) * static_cast<int64_t>(sizeof(uint64_t)));
}

void HostExchange::Meet(uint64_t purpose) {
  ++meeting_;
  PurposeOf(rank_, meeting_).store(purpose, std::memory_order_relaxed);
  ArrivalsOf(rank_).store(meeting_, std::memory_order_release);
  for (int p = 0; p < size_; ++p) {
    if (p == rank_) continue;
    const std::atomic<uint64_t>& arrivals = ArrivalsOf(p);
    WaitUntil([&] { return arrivals.load(std::memory_order_acquire) >= meeting_; }, poll_);
    const uint64_t theirs = PurposeOf(p, meeting_).load(std::memory_order_relaxed);
    if (theirs != purpose) {
      throw AtOdds(absl::StrCat("rank ", p, " is in another operation: in ", InWords(theirs),
                                " where this one is in ", InWords(purpose)));
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
  const uint64_t purpose = Purpose(Collective::kAllReduce, dtype, op, elements * element);
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
    Meet(purpose);
    char* sum = Mine();
    Reduce(dtype, op, here + start(rank_), start(rank_), bytes(rank_) / element, sum);
    Copy(here + start(rank_), sum, bytes(rank_));
    Meet(purpose);
    for (int p = 0; p < size_; ++p) {
      if (p != rank_) Copy(here + start(p), Of(p), bytes(p));
    }
  }
}

void HostExchange::AllGather(c10::ScalarType dtype, const void* input, void* output,
                             int64_t bytes) {
  const uint64_t purpose = Purpose(Collective::kAllGather, dtype, ReduceOp::kSum, bytes);
  const auto* from = static_cast<const char*>(input);
  auto* to = static_cast<char*>(output);
  Copy(to + rank_ * bytes, from, bytes);
  for (int64_t begin = 0; begin < bytes; begin += kAreaBytes) {
    const int64_t count = std::min(kAreaBytes, bytes - begin);
    Copy(Mine(), from + begin, count);
    Meet(purpose);
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
  const uint64_t purpose =
      Purpose(Collective::kReduceScatter, dtype, ReduceOp::kSum, size_ * elements * element);
  // An area holds a piece for each of the ranks.
  const int64_t round = kAreaBytes / element / size_;
  for (int64_t begin = 0; begin < elements; begin += round) {
    const int64_t count = std::min(round, elements - begin);
    for (int p = 0; p < size_; ++p) {
      if (p == rank_) continue;
      Copy(Mine() + p * count * element, from + (p * elements + begin) * element, count * element);
    }
    Meet(purpose);
    Reduce(dtype, ReduceOp::kSum, from + (rank_ * elements + begin) * element,
           rank_ * count * element, count, to + begin * element);
  }
}

}  // namespace fttrain
