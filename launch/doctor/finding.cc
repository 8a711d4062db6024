#include "launch/doctor/finding.h"

#include <algorithm>

namespace fttrain {

const char* SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return "ok";
    case Severity::kNote:
      return "note";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      break;
  }
  return "error";
}

bool HasErrors(absl::Span<const Finding> findings) { return ExitCodeOf(findings) != 0; }

int ExitCodeOf(absl::Span<const Finding> findings) {
  int code = 0;
  for (const Finding& finding : findings) {
    if (finding.severity != Severity::kError) continue;
    if (code == 0 || finding.exit_code == kExitHang) code = finding.exit_code;
  }
  return code;
}

}  // namespace fttrain
