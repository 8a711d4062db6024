// Templates made at random, mostly by the grammar, some of them then broken. For fuzzing.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace fttrain::jinja {

class RandomTemplates {
 public:
  explicit RandomTemplates(uint64_t seed) : random_(seed) {}
  std::string Next();

 private:
  size_t Below(size_t n) { return random_() % n; }
  template <size_t N>
  std::string OneOf(const char* const (&choices)[N]) {
    return choices[Below(N)];
  }
  std::string Expression(int depth);
  std::string Statement(int depth);
  std::string Body(int depth);
  std::string Tag(const std::string& inside);
  void Break(std::string* text);

  std::mt19937_64 random_;
};

}  // namespace fttrain::jinja
