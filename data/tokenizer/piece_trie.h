// Strings by their common beginnings: which of them stand at a place of a text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fttrain {

class PieceTrie {
 public:
  PieceTrie() { roots_.fill(-1); }
  // Values are >= 0; of equal strings the first counts; the empty string is left out.
  explicit PieceTrie(std::vector<std::pair<std::string, int32_t>> entries);

  bool empty() const { return nodes_.empty(); }

  // The first place from `at` on where a string may begin; the text's size where there is none.
  size_t NextStart(std::string_view text, size_t at) const;

  // f(length, value) for each string that stands at text[at], shortest first.
  template <typename F>
  void ForEachAt(std::string_view text, size_t at, const F& f) const {
    if (at >= text.size()) return;
    int32_t node = roots_[static_cast<unsigned char>(text[at])];
    for (size_t length = 1; node >= 0; ++length) {
      const Node& n = nodes_[static_cast<size_t>(node)];
      if (n.value >= 0) f(length, n.value);
      if (at + length >= text.size()) return;
      node = Child(n, static_cast<unsigned char>(text[at + length]));
    }
  }

  struct Match {
    size_t length = 0;  // 0: none
    int32_t value = -1;
  };
  Match LongestAt(std::string_view text, size_t at) const {
    Match match;
    ForEachAt(text, at, [&](size_t length, int32_t value) { match = {length, value}; });
    return match;
  }

 private:
  struct Node {
    int32_t value;
    uint32_t begin;  // children lie together, by byte
    uint32_t count;
  };
  int32_t Child(const Node& node, unsigned char byte) const;

  std::array<int32_t, 256> roots_;
  int starts_ = 0;       // bytes that begin a string
  char only_start_ = 0;  // where they are one
  std::vector<Node> nodes_;
  std::vector<unsigned char> bytes_;  // by which a node is reached
};

}  // namespace fttrain
