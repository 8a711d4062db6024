#include "parallel/residency/stored_weights.h"

#include <algorithm>

namespace fttrain {
namespace {

bool AddsToGradients(const Visit& visit) {
  return visit.pass == Visit::Pass::kBackward || (visit.part == kHeadPart && visit.kept);
}

}  // namespace

void StoredWeights::Await(const Visit& visit) {
  Stretch& stretch = stretches_[visit.part];
  const std::vector<int> groups = groups_of_(visit.part);
  if (visit.first) {
    for (const int group : groups) stretch.leases.push_back(store_.Acquire(group));
  }
  if (!AddsToGradients(visit) || stretch.gradients) return;
  for (const int group : groups) store_.BeginGradients(group);
  stretch.gradients = true;
}

bool StoredWeights::IsComplete(int group, std::span<const Visit> following) const {
  return std::none_of(following.begin(), following.end(), [&](const Visit& visit) {
    if (!AddsToGradients(visit)) return false;
    const std::vector<int> groups = groups_of_(visit.part);
    return std::find(groups.begin(), groups.end(), group) != groups.end();
  });
}

void StoredWeights::Start(const Visit& visit, std::span<const Visit> following) {
  Stretch& stretch = stretches_[visit.part];
  if (visit.last && stretch.gradients) {
    for (const int group : groups_of_(visit.part)) {
      if (IsComplete(group, following)) stretch.complete.push_back(group);
    }
  }
  SendFor(visit, following);
}

// Beside an unshared stretch the next part alone is sent for: at the turn from forward to backward
// a layer further on would be one window more.
void StoredWeights::SendFor(const Visit& visit, std::span<const Visit> following) {
  if (visit.shared && !visit.first) return;  // sent for at its first visit
  bool layer = false;
  for (const Visit& next : following) {
    if (!next.first) {
      if (!visit.shared && next.part != visit.part) return;
      continue;
    }
    if (layer && next.is_layer()) return;
    for (const int group : groups_of_(next.part)) store_.Prefetch(group);
    if (!visit.shared) return;
    layer |= next.is_layer();
  }
}

void StoredWeights::Done(const Visit& visit) {
  if (!visit.last) return;
  Stretch& stretch = stretches_[visit.part];
  if (stretch.gradients) {
    for (const int group : groups_of_(visit.part)) store_.EndGradients(group);
  }
  for (const int group : stretch.complete) store_.CompleteGradients(group);
  stretches_.erase(visit.part);
}

void StoredWeights::Abort() {
  stretches_.clear();
  store_.DropGradients();
}

}  // namespace fttrain
