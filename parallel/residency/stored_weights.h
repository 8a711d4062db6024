// The weights and gradients of a ParameterStore, brought for the visits of a step.
#pragma once

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "parallel/residency/residency.h"
#include "parallel/storage/parameter_store.h"

namespace fttrain {

// The groups that a part of the model reads; of one that a backward, or the head's forward, adds
// to, gradients are taken as well.
class StoredWeights : public Resident {
 public:
  using GroupsOf = std::function<std::vector<int>(int part)>;
  // The store must outlive this.
  StoredWeights(ParameterStore& store, GroupsOf groups_of)
      : store_(store), groups_of_(std::move(groups_of)) {}

  // A part's groups are leased for its stretch of visits. Collective as ParameterStore::Acquire.
  void Await(const Visit& visit) override;
  // The part that is visited next is sent for; beside a shared stretch the next layer after it, and
  // the end that goes with that: at most one layer's window beside those of the open stretches.
  // A stretch after which nothing is added to a group's gradients will complete them.
  void Start(const Visit& visit, std::span<const Visit> following) override;
  void Done(const Visit& visit) override;
  // Leases and gradients that are not summed are given up; what was summed stays.
  void Abort() override;

 private:
  struct Stretch {
    std::vector<ParameterStore::Lease> leases;
    bool gradients = false;     // some visit has begun them
    std::vector<int> complete;  // groups whose gradients are, at its end
  };
  // Whether none of the visits adds to the group's gradients.
  bool IsComplete(int group, std::span<const Visit> following) const;
  void SendFor(const Visit& visit, std::span<const Visit> following);
  ParameterStore& store_;
  GroupsOf groups_of_;
  std::map<int, Stretch> stretches_;  // open ones, by part
};

}  // namespace fttrain
