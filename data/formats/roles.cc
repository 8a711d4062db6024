#include "data/formats/roles.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/formats/row_json.h"

namespace fttrain {
namespace {

constexpr absl::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};

struct Word {
  absl::string_view word, role;
  bool calls = false;
};

constexpr Word kShareGptWords[] = {
    {"system", "system"},
    {"developer", "developer"},
    {"human", "user"},
    {"user", "user"},
    {"prompter", "user"},
    {"gpt", "assistant"},
    {"assistant", "assistant"},
    {"chatgpt", "assistant"},
    {"bing", "assistant"},
    {"bard", "assistant"},
    {"model", "assistant"},
    {"bot", "assistant"},
    {"chatbot", "assistant"},
    {"ai", "assistant"},
    {"function_call", "assistant", true},
    {"function-call", "assistant", true},
    {"tool_call", "assistant", true},
    {"observation", "tool"},
    {"tool", "tool"},
    {"function_response", "tool"},
    {"function-response", "tool"},
    {"tool_response", "tool"},
};

const Word* Find(absl::string_view word) {
  const std::string lower = absl::AsciiStrToLower(word);
  const Word* const found = std::find_if(std::begin(kShareGptWords), std::end(kShareGptWords),
                                         [&](const Word& w) { return w.word == lower; });
  return found == std::end(kShareGptWords) ? nullptr : found;
}

absl::Status Unknown(absl::string_view word, absl::string_view known, absl::string_view remedy) {
  return absl::InvalidArgumentError(
      absl::StrCat("role ", Quoted(word), " is none of ", known, ": ", remedy));
}

}  // namespace

absl::StatusOr<Role> RoleOf(absl::string_view word, bool share_gpt) {
  const Word* const found = Find(word);
  if (share_gpt) {
    if (found != nullptr) return Role{std::string(found->role), found->calls};
    const auto name = [](std::string* out, const Word& w) { absl::StrAppend(out, w.word); };
    return Unknown(word, absl::StrJoin(kShareGptWords, ", ", name), "rename it");
  }
  if (std::find(std::begin(kRoles), std::end(kRoles), word) != std::end(kRoles)) {
    return Role{std::string(word)};
  }
  const bool old = word == "function";
  return Unknown(word, absl::StrJoin(kRoles, ", "),
                 old                ? "a function's result is role tool today"
                 : found != nullptr ? "rename it, or set format sharegpt, which knows the word"
                                    : "rename it");
}

}  // namespace fttrain
