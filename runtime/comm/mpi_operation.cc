#include "runtime/comm/mpi_operation.h"

#include <sched.h>

#include <algorithm>
#include <stdexcept>

#include "runtime/process/mpi_util.h"
#include "runtime/process/peer_lost.h"

namespace fttrain {
namespace {

// Bytes of one MPI call; counts are ints.
constexpr int64_t kPieceBytes = int64_t{1} << 30;
// Fruitless polls before the core is offered to others (a peer may need it to reach us).
constexpr int kPollsBeforeYield = 200;

void Check(int code) {
  if (code == MPI_SUCCESS) return;
  if (IsPeerLost(code)) throw PeerLostError(MpiErrorText(code));
  throw std::runtime_error(MpiErrorText(code));
}

// Calls post(offset, length) for each piece.
template <typename Post>
void ForEachPiece(int64_t bytes, Post post) {
  for (int64_t begin = 0; begin < bytes; begin += kPieceBytes) {
    post(begin, static_cast<int>(std::min(kPieceBytes, bytes - begin)));
  }
}

}  // namespace

MpiQueue::~MpiQueue() {
  for (auto& operation : in_flight_) {
    if (!operation->complete) new std::shared_ptr<MpiOperation>(operation);
  }
}

void MpiQueue::Start(const std::shared_ptr<MpiOperation>& operation) {
  in_flight_.push_back(operation);
  Advance(*operation);
}

void MpiQueue::Advance(MpiOperation& operation) {
  while (!operation.complete) {
    if (!operation.requests.empty()) {
      int done = 0;
      std::vector<MPI_Status> statuses(operation.requests.size());
      const int code = MPI_Testall(static_cast<int>(operation.requests.size()),
                                   operation.requests.data(), &done, statuses.data());
      if (code == MPI_ERR_IN_STATUS) {
        for (const MPI_Status& status : statuses) {
          if (status.MPI_ERROR != MPI_ERR_PENDING) Check(status.MPI_ERROR);
        }
      }
      Check(code);
      if (done == 0) return;
      operation.requests.clear();
    }
    if (operation.steps.empty()) {
      operation.complete = true;
      return;
    }
    const auto step = std::move(operation.steps.front());
    operation.steps.pop_front();
    step(operation);
  }
}

void MpiQueue::Poll() {
  for (auto& each : in_flight_) Advance(*each);
  // Any MPI call moves what MPI has been told to transfer; this one has no effect of its own.
  int found = 0;
  Check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &found, MPI_STATUS_IGNORE));
}

void MpiQueue::WaitFor(const MpiOperation& operation) {
  for (int polls = 0; !operation.complete; ++polls) {
    for (auto& each : in_flight_) Advance(*each);
    if (polls >= kPollsBeforeYield) sched_yield();
  }
  std::erase_if(in_flight_, [](const auto& each) { return each->complete; });
}

void MpiQueue::Isend(MpiOperation& operation, const void* data, int64_t bytes, int peer, int tag) {
  ForEachPiece(bytes, [&](int64_t offset, int length) {
    Check(MPI_Isend(static_cast<const char*>(data) + offset, length, MPI_BYTE, peer, tag, comm_,
                    &operation.requests.emplace_back(MPI_REQUEST_NULL)));
  });
}

void MpiQueue::Irecv(MpiOperation& operation, void* data, int64_t bytes, int peer, int tag) {
  ForEachPiece(bytes, [&](int64_t offset, int length) {
    Check(MPI_Irecv(static_cast<char*>(data) + offset, length, MPI_BYTE, peer, tag, comm_,
                    &operation.requests.emplace_back(MPI_REQUEST_NULL)));
  });
}

}  // namespace fttrain
