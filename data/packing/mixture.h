// Which examples an epoch has, where some files' come more often than others', and in which order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "data/text/example.h"

namespace fttrain {

// Neighbouring examples, up to before `end`, and how often an epoch has each.
struct WeightedPart {
  int64_t end = 0;
  double weight = 1;
};

// A pure function of (parts, seed, epoch). Part p of n examples and weight w goes through keyed
// permutations of its own, one behind the other: epoch e has the positions from floor(e w n) to
// before floor((e + 1) w n) of them. So w = 2 is every example twice, and after 4 epochs of w =
// 0.25 each was there once. With `shuffle` an epoch's examples come in a keyed order; without,
// every part keeps its order and the parts are spread evenly through each other.
class Mixture {
 public:
  Mixture(std::vector<WeightedPart> parts, uint64_t seed, bool shuffle);

  // Without parts of other weights than 1 the epoch is EpochOrder's of all examples.
  std::vector<ExampleIndex> Epoch(int64_t epoch) const;
  int64_t SizeOf(int64_t epoch) const;
  // How often an epoch has one example of part p, at most.
  int64_t MostOf(size_t p) const;

  const std::vector<WeightedPart>& parts() const { return parts_; }
  bool weighs() const { return weighs_; }

 private:
  struct Range {
    int64_t begin, end;
  };
  int64_t CountOf(size_t p) const;
  Range DrawsOf(size_t p, int64_t epoch) const;
  std::vector<ExampleIndex> DrawFrom(size_t p, int64_t epoch) const;

  std::vector<WeightedPart> parts_;
  uint64_t seed_;
  bool shuffle_, weighs_;
};

}  // namespace fttrain
