// What layers keep for backward, brought from an ActivationStore for the visits of a step.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "parallel/residency/activation_store.h"
#include "parallel/residency/residency.h"

namespace fttrain {

// Put after a layer's forward, taken before its backward, and sent for while the layer before that
// one in the list works.
class KeptActivations : public Resident {
 public:
  using KeptOf = std::function<std::vector<KeptTensor>(int layer, int microbatch)>;
  KeptActivations(c10::Device device, KeptOf kept_of)
      : store_(device), kept_of_(std::move(kept_of)) {}

  void Await(const Visit& visit) override;
  void Start(const Visit& visit, std::span<const Visit> following) override;
  void Done(const Visit& visit) override;
  void Abort() override { store_.Clear(); }

 private:
  ActivationStore store_;
  KeptOf kept_of_;
};

}  // namespace fttrain
