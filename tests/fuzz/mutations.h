// Inputs made of others, by a seed: the same in every run.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace fttrain::fuzz {

class Mutations {
 public:
  // `seeds` is not empty.
  Mutations(std::vector<std::string> seeds, std::vector<std::string> words, uint64_t seed);

  // One of the pool, changed in one to eight places. At most kMostBytes long.
  std::string Next();
  // An input to make others of. The pool holds the seeds and so many of these.
  void Keep(const std::string& input);

  static constexpr size_t kMostBytes = 1 << 14;

 private:
  size_t Below(size_t end) { return static_cast<size_t>(random_() % end); }
  void Change(std::string* input);
  void ChangeNumber(std::string* input);
  // Half of them seeds: what is taken most easily must not crowd out the rest.
  const std::string& Any() { return pool_[Below(Below(2) == 0 ? seeds_ : pool_.size())]; }

  std::vector<std::string> pool_, words_;
  size_t seeds_;
  std::mt19937_64 random_;
};

}  // namespace fttrain::fuzz
