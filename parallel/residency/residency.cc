#include "parallel/residency/residency.h"

#include <c10/util/Exception.h>

#include <utility>

namespace fttrain {

void Residency::Begin(std::vector<Visit> visits) {
  TORCH_CHECK(next_ == visits_.size(), "a list begins where the schedule has ",
              ToString({visits_[next_]}));
  visits_ = std::move(visits);
  next_ = 0;
}

void Residency::Abort() {
  if (next_ < visits_.size()) {
    for (Resident* resident : residents_) resident->Abort();
  }
  next_ = visits_.size();
  open_ = false;
}

const Visit& Residency::Enter(int part, Visit::Pass pass, int microbatch) {
  const Visit asked{part, pass, microbatch};
  TORCH_CHECK(!open_ && next_ < visits_.size(), ToString({asked}), " after the last visit");
  const Visit& visit = visits_[next_];
  TORCH_CHECK(visit.part == part && visit.pass == pass && visit.microbatch == microbatch,
              ToString({asked}), " where the schedule has ", ToString({visit}));
  const std::span<const Visit> following = std::span(visits_).subspan(next_ + 1);
  for (Resident* resident : residents_) resident->Await(visit);
  for (Resident* resident : residents_) resident->Start(visit, following);
  open_ = true;
  return visit;
}

void Residency::Leave() {
  TORCH_CHECK(open_, "no visit is open");
  for (Resident* resident : residents_) resident->Done(visits_[next_]);
  ++next_;
  open_ = false;
}

}  // namespace fttrain
