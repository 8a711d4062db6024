#include "data/tokenizer/vocabulary.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::Status Vocabulary::Add(std::string_view token, int64_t id) {
  if (token.empty()) return absl::InvalidArgumentError("the empty string is no token");
  if (id < 0 || id >= kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrCat(id, " is not in [0, ", kMaxTokens - 1, "]"));
  }
  const int32_t at = static_cast<int32_t>(id);
  if (const std::string* other = Token(at); other != nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("id ", id, " is also '", Printable(*other), "'"));
  }
  if (!id_of_.emplace(std::string(token), at).second) {
    return absl::InvalidArgumentError(
        absl::StrCat("token '", Printable(token), "' has the ids ", Find(token), " and ", id));
  }
  token_of_.emplace(at, std::string(token));
  max_id_ = std::max(max_id_, at);
  return absl::OkStatus();
}

}  // namespace fttrain
