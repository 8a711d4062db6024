// Words for roles.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace fttrain {

struct Role {
  std::string name;    // of Message
  bool calls = false;  // the turn's text is the JSON of calls: function_call
};

// InvalidArgument, saying which there are. `share_gpt`: also ShareGPT's words (human, gpt,
// function_call, observation, ...), in upper or lower case.
absl::StatusOr<Role> RoleOf(absl::string_view word, bool share_gpt);

}  // namespace fttrain
