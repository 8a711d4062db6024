// The tokens of a model, by spelling and by id.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

namespace fttrain {

constexpr int64_t kMaxTokens = int64_t{1} << 24;
// Of files whose merges are found by cutting each token everywhere, which takes the length squared.
constexpr size_t kMaxTokenBytes = 1024;

class Vocabulary {
 public:
  // InvalidArgument for the empty string, an id beyond kMaxTokens, an id or a spelling that is
  // taken.
  absl::Status Add(std::string_view token, int64_t id);

  int32_t Find(std::string_view token) const {  // -1: none
    const auto it = id_of_.find(absl::string_view(token.data(), token.size()));
    return it == id_of_.end() ? -1 : it->second;
  }
  // Null if the id has no token.
  const std::string* Token(int32_t id) const {
    const bool there = id >= 0 && id <= max_id() && !tokens_[static_cast<size_t>(id)].empty();
    return there ? &tokens_[static_cast<size_t>(id)] : nullptr;
  }
  int64_t size() const { return static_cast<int64_t>(id_of_.size()); }
  int32_t max_id() const { return static_cast<int32_t>(tokens_.size()) - 1; }
  const absl::flat_hash_map<std::string, int32_t>& ids() const { return id_of_; }

 private:
  absl::flat_hash_map<std::string, int32_t> id_of_;
  std::vector<std::string> tokens_;  // of an id; empty: none
};

}  // namespace fttrain
