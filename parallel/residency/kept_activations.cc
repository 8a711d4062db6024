#include "parallel/residency/kept_activations.h"

#include <algorithm>

namespace fttrain {

void KeptActivations::Await(const Visit& visit) {
  if (!visit.is_layer() || visit.pass != Visit::Pass::kBackward) return;
  store_.Take({visit.part, visit.microbatch}, kept_of_(visit.part, visit.microbatch));
}

void KeptActivations::Start(const Visit& visit, std::span<const Visit> following) {
  if (!visit.is_layer()) return;
  const auto next = std::find_if(following.begin(), following.end(),
                                 [](const Visit& each) { return each.is_layer(); });
  if (next == following.end() || next->pass != Visit::Pass::kBackward) return;
  store_.Prefetch({next->part, next->microbatch});
}

void KeptActivations::Done(const Visit& visit) {
  if (!visit.is_layer() || visit.pass != Visit::Pass::kForward || !visit.kept) return;
  store_.Put({visit.part, visit.microbatch}, kept_of_(visit.part, visit.microbatch));
}

}  // namespace fttrain
