// Every layout that a user can ask for, as data: the values of thirteen keys, which of them
// contradict each other, and a small subset with every few values together. Pure.
//
// Of the first ten axes all combinations are there. The last three, the third place of the base
// weights, and what kind of rows and model there is would make them 24 times as many: of those one
// is drawn for each, by its number, so that every three values of all axes stand together somewhere
// (layout_matrix_test.cc). Moments in 8 bits are drawn seldom, for they are compared in float32.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace fttrain {

enum MatrixAxis {
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
  kEmbedding,
  kMoments,
  kMomentsPlace,
  kNumAxes,
};
constexpr int kNumWalkedAxes = kEmbedding;

// A value of each axis, by its number. Interleaved goes with two chunks a stage.
struct Combination {
  std::array<uint8_t, kNumAxes> values = {};
  bool tied_and_padded = false;  // a tied head and rows of one example; else neither
  int rows_of_a_microbatch = 1;
  // In every other layer, with adapters on attention alone. Not where gradients are float32: which
  // experts a token has may turn on its last bits.
  bool experts = false;
  // Multi-head latent attention; with experts also shared ones, of groups, by corrected sigmoids.
  bool latents = false;
  // With experts and without latents: those of gpt-oss, in one tensor, with biases; its sinks and
  // windows.
  bool sinks = false;
  bool adapts_experts = false;   // with experts: adapters on these, too
  bool divides_experts = false;  // over the two replicas
  bool balances = false;         // with experts and without latents: their routers' loss

  // The config's word, as a user writes it; of kData, which no key says, the number of replicas.
  const std::string& operator[](int axis) const;
  bool Is(MatrixAxis axis, const char* word) const { return (*this)[axis] == word; }
  int Number(MatrixAxis axis) const { return std::stoi((*this)[axis]); }
  int Ranks() const { return Number(kTensor) * Number(kPipeline) * Number(kData); }
};

// As overrides for config::ParseRunConfig: "parallel.tensor=2", ...
std::vector<std::string> Overrides(const Combination& combination);
// On one line, for messages.
std::string ToString(const Combination& combination);

// All on at most 8 ranks, fewest ranks first: of every combination of the walked axes one that
// works, if one does, and some that do not.
std::vector<Combination> AllCombinations();

// The keys that contradict each other, which a refusal has to name; none where the combination is
// to work. Sequence parallelism without tensor parallelism and ZeRO without replicas work: they
// have nothing to divide.
std::vector<std::string> ContradictingKeys(const Combination& combination);
std::vector<Combination> WorkingCombinations();

// The numbers of three values of different axes that stand together, ascending: in `all`, and in
// any combination that works, drawn or not.
std::vector<int> Triples(const std::vector<Combination>& all);
std::vector<int> WorkingTriples();

// Of `all`, in their order, some that have all their triples. Each is the one that adds most (the
// first of them). What is trained in every test run.
std::vector<Combination> CoveringSubset(const std::vector<Combination>& all);

}  // namespace fttrain
