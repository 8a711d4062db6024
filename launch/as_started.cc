#include "launch/as_started.h"

#include <algorithm>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "launch/command_table.h"

namespace fttrain {
namespace {

constexpr absl::string_view kName = "fttrain";

std::string Quoted(const std::string& program) {
  const bool plain = std::all_of(program.begin(), program.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("/._-+", std::string(1, c)) || c >= 0x80;
  });
  return plain ? program : absl::StrCat("'", absl::StrReplaceAll(program, {{"'", "'\\''"}}), "'");
}

// Whether what follows the name is the rest of a command: its own word, a flag or a config.
bool ContinuesCommand(absl::string_view rest) {
  if (!absl::ConsumePrefix(&rest, " ")) return false;
  const absl::string_view word = rest.substr(0, rest.find_first_of(" \n`'\"),;"));
  if (absl::StartsWith(word, "--") || absl::StartsWith(word, "[") ||
      absl::EndsWith(word, ".yaml")) {
    return true;
  }
  return FindCommand(std::string(word)) != nullptr;
}

}  // namespace

std::string StartedAs() {
  std::string program;
  std::ifstream file("/proc/self/cmdline");
  return std::getline(file, program, '\0') && !program.empty() ? program : std::string(kName);
}

std::string AsStarted(absl::string_view text, const std::string& program) {
  std::string result;
  while (true) {
    const size_t at = text.find(kName);
    if (at == absl::string_view::npos) return absl::StrCat(result, text);
    const absl::string_view before = text.substr(0, at), rest = text.substr(at + kName.size());
    const char last = before.empty() ? (result.empty() ? ' ' : result.back()) : before.back();
    const bool begins = absl::StrContains(" \n`'\"(", std::string(1, last));
    absl::StrAppend(&result, before,
                    begins && ContinuesCommand(rest) ? Quoted(program) : std::string(kName));
    text = rest;
  }
}

}  // namespace fttrain
