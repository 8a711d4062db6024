// What is not always on the device is brought there for the visits of a step (pipeline/visits.h),
// ahead of its use: one list says what comes next, and whoever brings something reads it there.
#pragma once

#include <span>
#include <vector>

#include "parallel/pipeline/visits.h"

namespace fttrain {

// Brings one kind of thing: weights, activations, dequantised matrices.
class Resident {
 public:
  virtual ~Resident() = default;
  // What the visit uses is there when this returns (operations on the current stream are ordered
  // after its arrival).
  virtual void Await(const Visit& visit) = 0;
  // The work of `visit` is about to be enqueued, `following` come after it: what one of them uses
  // may be sent for, so that it arrives meanwhile.
  virtual void Start(const Visit& visit, std::span<const Visit> following) = 0;
  // The work of the visit is enqueued.
  virtual void Done(const Visit& visit) = 0;
  // The rest of the list does not come: what is there for it is given up. Not collective.
  virtual void Abort() = 0;
};

// Walks the list of a step. Residents are asked in their order; they must outlive this. All ranks
// that share a resident's collectives walk the same list.
class Residency {
 public:
  // The list of a schedule that is about to run. Throws c10::Error unless the one before was
  // walked to its end or aborted.
  void Begin(std::vector<Visit> visits);
  // Ends a list that a step which failed has left; nothing after a list that was walked.
  void Abort();
  void Add(Resident& resident) { residents_.push_back(&resident); }

  // Opens the list's next visit, which must be this one: throws c10::Error where the work does not
  // follow the schedule that the list was made from. Returned until Leave.
  const Visit& Enter(int part, Visit::Pass pass, int microbatch);
  void Leave();

 private:
  std::vector<Resident*> residents_;
  std::vector<Visit> visits_;
  size_t next_ = 0;
  bool open_ = false;
};

}  // namespace fttrain
