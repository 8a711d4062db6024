// Every layout that a user can ask for, as data: the values of ten keys in all combinations, which
// of them contradict each other, and a small subset with every few values together. Pure.
#pragma once

#include <array>
#include <string>
#include <vector>

namespace fttrain {

enum Axis {
  kTensor,
  kPipeline,
  kData,
  kZeroStage,
  kSequenceParallel,
  kSchedule,
  kMethod,
  kRecompute,
  kActivations,
  kBaseWeights,
  kNumAxes,
};

// The config's word for each axis, as a user writes it; of kData, which no key says, the number of
// replicas. Interleaved goes with two chunks a stage.
struct Combination {
  std::array<std::string, kNumAxes> words;

  const std::string& operator[](Axis axis) const { return words[axis]; }
  bool Is(Axis axis, const char* word) const { return words[axis] == word; }
  int Number(Axis axis) const { return std::stoi(words[axis]); }
  int Ranks() const { return Number(kTensor) * Number(kPipeline) * Number(kData); }
};

// As overrides for config::ParseRunConfig: "parallel.tensor=2", ...
std::vector<std::string> Overrides(const Combination& combination);
// On one line, for messages.
std::string ToString(const Combination& combination);

// All on at most 8 ranks, fewest ranks first, those of one (tensor, pipeline, data) together.
std::vector<Combination> AllCombinations();

// The keys that contradict each other, which a refusal has to name; none where the combination is
// to work. Sequence parallelism without tensor parallelism and ZeRO without replicas work: they
// have nothing to divide.
std::vector<std::string> ContradictingKeys(const Combination& combination);
std::vector<Combination> WorkingCombinations();

// Of `all`, in their order, some in which every `strength` values of different axes that stand
// together in one of `all` stand together too. Each is the one that adds most (the first of them).
std::vector<Combination> CoveringSubset(const std::vector<Combination>& all, int strength);

// What is trained in every test run: every three values.
constexpr int kCoveredTogether = 3;

}  // namespace fttrain
