#include "data/tokenizer/piece_trie.h"

#include <algorithm>

namespace fttrain {

PieceTrie::PieceTrie(std::vector<std::pair<std::string, int32_t>> entries) {
  roots_.fill(-1);
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  // Entries [begin, end) share their first `depth` bytes and lie below `node` (-1: the roots).
  struct Todo {
    size_t begin, end, depth;
    int32_t node;
  };
  std::vector<Todo> todo = {{0, entries.size(), 0, -1}};
  for (size_t i = 0; i < todo.size(); ++i) {
    auto [begin, end, depth, node] = todo[i];
    for (; begin < end && entries[begin].first.size() == depth; ++begin) {
      if (node >= 0 && nodes_[static_cast<size_t>(node)].value < 0) {
        nodes_[static_cast<size_t>(node)].value = entries[begin].second;
      }
    }
    const uint32_t first = static_cast<uint32_t>(nodes_.size());
    for (size_t next = begin; begin < end; begin = next) {
      const char byte = entries[begin].first[depth];
      while (next < end && entries[next].first[depth] == byte) ++next;
      const int32_t child = static_cast<int32_t>(nodes_.size());
      if (node < 0) {
        roots_[static_cast<unsigned char>(byte)] = child;
        only_start_ = byte;
        ++starts_;
      }
      nodes_.push_back({-1, 0, 0});
      bytes_.push_back(static_cast<unsigned char>(byte));
      todo.push_back({begin, next, depth + 1, child});
    }
    if (node >= 0) {
      nodes_[static_cast<size_t>(node)].begin = first;
      nodes_[static_cast<size_t>(node)].count = static_cast<uint32_t>(nodes_.size()) - first;
    }
  }
}

size_t PieceTrie::NextStart(std::string_view text, size_t at) const {
  if (starts_ == 0) return text.size();
  if (starts_ == 1) return std::min(text.find(only_start_, at), text.size());
  while (at < text.size() && roots_[static_cast<unsigned char>(text[at])] < 0) ++at;
  return at;
}

int32_t PieceTrie::Child(const Node& node, unsigned char byte) const {
  const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(node.begin);
  const auto end = begin + static_cast<std::ptrdiff_t>(node.count);
  const auto found = std::lower_bound(begin, end, byte);
  if (found == end || *found != byte) return -1;
  return static_cast<int32_t>(found - bytes_.begin());
}

}  // namespace fttrain
