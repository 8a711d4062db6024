// The tokens of a model, by spelling and by id.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

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
    const auto it = token_of_.find(id);
    return it == token_of_.end() ? nullptr : &it->second;
  }
  int64_t size() const { return static_cast<int64_t>(id_of_.size()); }
  int32_t max_id() const { return max_id_; }  // -1: no token
  const absl::flat_hash_map<std::string, int32_t>& ids() const { return id_of_; }

 private:
  absl::flat_hash_map<std::string, int32_t> id_of_;
  // Not a list: of one token a file may say that its id is 2^24 - 1.
  absl::flat_hash_map<int32_t, std::string> token_of_;
  int32_t max_id_ = -1;
};

}  // namespace fttrain
