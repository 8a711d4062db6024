#include "data/tokenizer/vocabulary.h"

#include "absl/strings/str_cat.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::Status Vocabulary::Add(std::string_view token, int64_t id) {
  if (token.empty()) return absl::InvalidArgumentError("the empty string is no token");
  if (id < 0 || id >= kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrCat(id, " is not in [0, ", kMaxTokens - 1, "]"));
  }
  const size_t at = static_cast<size_t>(id);
  if (at >= tokens_.size()) tokens_.resize(at + 1);
  if (!tokens_[at].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("id ", id, " is also '", Printable(tokens_[at]), "'"));
  }
  if (!id_of_.emplace(std::string(token), static_cast<int32_t>(id)).second) {
    return absl::InvalidArgumentError(
        absl::StrCat("token '", Printable(token), "' has the ids ", Find(token), " and ", id));
  }
  tokens_[at] = std::string(token);
  return absl::OkStatus();
}

}  // namespace fttrain
