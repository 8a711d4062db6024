#include "tests/launch/run/layout_matrix.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <set>
#include <tuple>
#include <utility>

#include "runtime/math/philox.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int kMostWords = 4;  // of an axis
constexpr int kMostRanks = 8;

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
      {"memory.base_weights", {"device", "host", "disk"}},
      {"memory.embedding", {"device", "host"}},
      {"optimizer.state", {"fp32", "int8"}},
      {"optimizer.device", {"device", "host"}},
  }};
  return axes;
}

int Words(int axis) {
  const int words = static_cast<int>(Axes()[static_cast<size_t>(axis)].words.size());
  FT_CHECK(words <= kMostWords, "axis ", axis, " has ", words, " words, more than kMostWords");
  return words;
}

// Calls `see` with every combination of the axes' first words, `words`(axis) of each.
void ForEachCombination(const std::function<int(int)>& words,
                        const std::function<void(const Combination&)>& see) {
  Combination combination;
  for (;;) {
    if (combination.Ranks() <= kMostRanks) see(combination);
    int axis = kNumAxes - 1;
    while (axis >= 0 && ++combination.values[axis] == words(axis)) combination.values[axis--] = 0;
    if (axis < 0) return;
  }
}

// Draw number `attempt` of what is not walked.
Combination Draw(const Combination& walked, uint32_t number, uint32_t attempt) {
  const PhiloxBlock bits = Philox4x32(/*seed=*/5, number, attempt);
  Combination drawn = walked;
  if (!drawn.Is(kBaseWeights, "device")) drawn.values[kBaseWeights] += bits.x[0] % 2;
  drawn.values[kEmbedding] = bits.x[1] % 2;
  drawn.values[kMoments] = bits.x[2] % 8 == 0;
  drawn.values[kMomentsPlace] = bits.x[3] % 2;
  drawn.tied_and_padded = bits.x[0] / 2 % 2 == 1 && drawn.Is(kEmbedding, "device");
  // As many microbatches as interleaving needs.
  const bool divides = 4 / drawn.Number(kData) % drawn.Number(kPipeline) == 0;
  if (bits.x[1] / 2 % 2 == 1 && divides) drawn.rows_of_a_microbatch = 2;
  drawn.experts = bits.x[2] / 8 % 3 == 0 && drawn.Is(kMoments, "fp32");
  drawn.latents = bits.x[2] / 24 % 3 == 0 && drawn.Is(kMoments, "fp32");
  drawn.sinks = drawn.experts && !drawn.latents && bits.x[3] / 8 % 2 == 0;
  drawn.adapts_experts = drawn.experts && !drawn.Is(kMethod, "none") && bits.x[3] / 2 % 2 == 0;
  drawn.divides_experts = drawn.experts && drawn.Is(kData, "2") && bits.x[3] / 16 % 4 > 0;
  drawn.balances = drawn.experts && !drawn.latents;
  return drawn;
}

// Calls `see` with the number of every triple.
template <typename See>
void ForEachTriple(const Combination& combination, const See& see) {
  const auto value = [&](int axis) { return axis * kMostWords + combination.values[axis]; };
  constexpr int kValues = kNumAxes * kMostWords;
  for (int i = 0; i < kNumAxes; ++i) {
    for (int j = i + 1; j < kNumAxes; ++j) {
      for (int k = j + 1; k < kNumAxes; ++k) {
        see((value(i) * kValues + value(j)) * kValues + value(k));
      }
    }
  }
}

constexpr size_t kTriples =
    size_t{kNumAxes * kMostWords} * (kNumAxes * kMostWords) * (kNumAxes * kMostWords);

std::vector<int> NumbersOf(const std::vector<char>& there) {
  std::vector<int> numbers;
  for (size_t i = 0; i < there.size(); ++i) {
    if (there[i] != 0) numbers.push_back(static_cast<int>(i));
  }
  return numbers;
}

}  // namespace

const std::string& Combination::operator[](int axis) const {
  return Axes()[static_cast<size_t>(axis)].words[values[static_cast<size_t>(axis)]];
}

std::vector<std::string> Overrides(const Combination& combination) {
  std::vector<std::string> overrides;
  for (int axis = 0; axis < kNumAxes; ++axis) {
    if (Axes()[axis].key == nullptr) continue;
    overrides.push_back(std::string(Axes()[axis].key) + "=" + combination[axis]);
  }
  if (combination.Is(kSchedule, "interleaved")) {
    overrides.push_back("parallel.chunks_per_stage=2");
  }
  if (combination.divides_experts) overrides.push_back("parallel.expert=2");
  if (combination.balances) overrides.push_back("train.router_aux_loss_coef=0.5");
  return overrides;
}

std::string ToString(const Combination& combination) {
  std::string text = combination[kData] + (combination.Is(kData, "1") ? " replica" : " replicas") +
                     " of " + std::to_string(combination.rows_of_a_microbatch) +
                     (combination.tied_and_padded ? " rows, tied, padded" : " rows") +
                     (combination.experts ? ", experts" : "") +
                     (combination.latents ? ", latents" : "") +
                     (combination.sinks ? ", sinks" : "") +
                     (combination.adapts_experts ? ", adapters on experts" : "") +
                     (combination.balances ? ", their routers' loss" : "");
  for (const std::string& override_ : Overrides(combination)) text += " --set " + override_;
  return text;
}

std::vector<Combination> AllCombinations() {
  constexpr uint32_t kAttempts = 64;
  std::vector<Combination> all;
  uint32_t number = 0;
  const auto walked = [](int axis) {
    return axis == kBaseWeights ? 2 : axis < kNumWalkedAxes ? Words(axis) : 1;
  };
  ForEachCombination(walked, [&](const Combination& combination) {
    ++number;
    const bool works = ContradictingKeys(combination).empty();
    for (uint32_t attempt = 0; attempt < (works ? kAttempts : 1); ++attempt) {
      all.push_back(Draw(combination, number, attempt));
      if (ContradictingKeys(all.back()).empty()) break;
    }
  });
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
  if (!combination.Is(kBaseWeights, "device") && combination.Is(kMethod, "none")) {
    return {"memory.base_weights", "adapter.method"};
  }
  if (combination.Is(kEmbedding, "host") && combination.Is(kMethod, "none")) {
    return {"memory.embedding", "adapter.method"};
  }
  return {};
}

std::vector<Combination> WorkingCombinations() {
  std::vector<Combination> working = AllCombinations();
  std::erase_if(working, [](const Combination& c) { return !ContradictingKeys(c).empty(); });
  return working;
}

std::vector<int> Triples(const std::vector<Combination>& all) {
  std::vector<char> there(kTriples);
  for (const Combination& c : all) ForEachTriple(c, [&](int triple) { there[triple] = 1; });
  return NumbersOf(there);
}

std::vector<int> WorkingTriples() {
  std::vector<char> there(kTriples);
  ForEachCombination(Words, [&](const Combination& c) {
    if (ContradictingKeys(c).empty()) ForEachTriple(c, [&](int triple) { there[triple] = 1; });
  });
  return NumbersOf(there);
}

std::vector<Combination> CoveringSubset(const std::vector<Combination>& all) {
  std::vector<char> covered(kTriples);
  std::set<size_t> chosen;
  for (;;) {
    size_t best = 0;
    int most = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      int adds = 0;
      ForEachTriple(all[i], [&](int triple) { adds += covered[triple] == 0; });
      if (adds > most) std::tie(best, most) = std::pair(i, adds);
    }
    if (most == 0) break;
    chosen.insert(best);
    ForEachTriple(all[best], [&](int triple) { covered[triple] = 1; });
  }
  std::vector<Combination> subset;
  for (const size_t i : chosen) subset.push_back(all[i]);
  return subset;
}

}  // namespace fttrain
