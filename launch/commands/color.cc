#include "launch/commands/color.h"

#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "launch/terminal.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::StatusOr<bool> WantsColor(const CommandLine& line) {
  const std::string color = line.Get("color");
  if (color != "auto" && color != "always" && color != "never") {
    return absl::InvalidArgumentError(
        absl::StrCat("--color=", Printable(color), ": must be auto, always or never"));
  }
  if (color != "auto") return color == "always";
  const char* const none = std::getenv("NO_COLOR");
  const char* const term = std::getenv("TERM");
  return StdoutIsTerminal() && (none == nullptr || *none == '\0') &&
         (term == nullptr || std::string_view(term) != "dumb");
}

}  // namespace fttrain
