#include "tests/launch/run/layout_matrix.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace fttrain {
namespace {

struct AxisWords {
  const char* key;  // null: not a key
  std::vector<std::string> words;
};

const std::array<AxisWords, kNumAxes>& Axes() {
  static const std::array<AxisWords, kNumAxes> axes = {{
      {"parallel.tensor", {"1", "2"}},
      {"parallel.pipeline", {"1", "2", "4"}},
      {nullptr, {"1", "2"}},
      {"parallel.zero_stage", {"0", "1", "2", "3"}},
      {"parallel.sequence_parallel", {"false", "true"}},
      {"parallel.pipeline_schedule", {"1f1b", "interleaved", "gpipe", "layer_major"}},
      {"adapter.method", {"lora", "qlora", "none"}},
      {"memory.recompute", {"none", "smart", "full"}},
      {"memory.activations", {"device", "host"}},
      {"memory.base_weights", {"device", "host"}},
  }};
  return axes;
}

// Every set of `strength` axes, ascending.
std::vector<std::vector<int>> SetsOfAxes(int strength) {
  std::vector<std::vector<int>> sets;
  for (unsigned bits = 0; bits < (1U << kNumAxes); ++bits) {
    std::vector<int> axes;
    for (int axis = 0; axis < kNumAxes; ++axis) {
      if ((bits >> axis & 1U) != 0) axes.push_back(axis);
    }
    if (axes.size() == static_cast<size_t>(strength)) sets.push_back(std::move(axes));
  }
  return sets;
}

// For each combination the numbers of its tuples of `strength` values; equal tuples of different
// combinations have equal numbers, below `count`.
struct Tuples {
  std::vector<std::vector<int>> of;
  int count = 0;
};

Tuples NumberTuples(const std::vector<Combination>& all, int strength) {
  const std::vector<std::vector<int>> sets = SetsOfAxes(strength);
  std::map<std::pair<size_t, std::string>, int> numbers;
  Tuples tuples;
  for (const Combination& combination : all) {
    std::vector<int>& mine = tuples.of.emplace_back();
    for (size_t set = 0; set < sets.size(); ++set) {
      std::string values;
      for (const int axis : sets[set]) values += combination.words[axis] + ' ';
      mine.push_back(numbers.try_emplace({set, values}, numbers.size()).first->second);
    }
  }
  tuples.count = static_cast<int>(numbers.size());
  return tuples;
}

}  // namespace

std::vector<std::string> Overrides(const Combination& combination) {
  std::vector<std::string> overrides;
  for (int axis = 0; axis < kNumAxes; ++axis) {
    if (Axes()[axis].key == nullptr) continue;
    overrides.push_back(std::string(Axes()[axis].key) + "=" + combination.words[axis]);
  }
  if (combination.Is(kSchedule, "interleaved")) {
    overrides.push_back("parallel.chunks_per_stage=2");
  }
  return overrides;
}

std::string ToString(const Combination& combination) {
  std::string text = combination[kData] + (combination.Is(kData, "1") ? " replica" : " replicas");
  for (const std::string& override_ : Overrides(combination)) text += " --set " + override_;
  return text;
}

std::vector<Combination> AllCombinations() {
  std::vector<Combination> all = {{}};
  for (int axis = 0; axis < kNumAxes; ++axis) {
    std::vector<Combination> longer;
    for (const Combination& shorter : all) {
      for (const std::string& word : Axes()[axis].words) {
        longer.push_back(shorter);
        longer.back().words[axis] = word;
      }
    }
    all = std::move(longer);
  }
  std::erase_if(all, [](const Combination& c) { return c.Ranks() > 8; });
  std::stable_sort(all.begin(), all.end(), [](const Combination& a, const Combination& b) {
    return a.Ranks() < b.Ranks();
  });
  return all;
}

std::vector<std::string> ContradictingKeys(const Combination& combination) {
  if (combination.Is(kSchedule, "layer_major") && !combination.Is(kPipeline, "1")) {
    return {"parallel.pipeline_schedule", "parallel.pipeline"};
  }
  // Streamed weights are frozen.
  if (combination.Is(kBaseWeights, "host") && combination.Is(kMethod, "none")) {
    return {"memory.base_weights", "adapter.method"};
  }
  return {};
}

std::vector<Combination> WorkingCombinations() {
  std::vector<Combination> working = AllCombinations();
  std::erase_if(working, [](const Combination& c) { return !ContradictingKeys(c).empty(); });
  return working;
}

std::vector<Combination> CoveringSubset(const std::vector<Combination>& all, int strength) {
  const Tuples tuples = NumberTuples(all, strength);
  std::vector<char> covered(static_cast<size_t>(tuples.count), 0);
  std::set<size_t> chosen;
  for (;;) {
    size_t best = 0;
    int64_t most = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const int64_t adds = std::count_if(tuples.of[i].begin(), tuples.of[i].end(),
                                         [&](int tuple) { return covered[tuple] == 0; });
      if (adds > most) std::tie(best, most) = std::pair(i, adds);
    }
    if (most == 0) break;
    chosen.insert(best);
    for (const int tuple : tuples.of[best]) covered[tuple] = 1;
  }
  std::vector<Combination> subset;
  for (const size_t i : chosen) subset.push_back(all[i]);
  return subset;
}

}  // namespace fttrain
