// What the doctor says: data, in the order of reading.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "launch/exit_code.h"

namespace fttrain {

enum class Severity {
  kOk,       // looked at, and good
  kNote,     // worth knowing
  kWarning,  // a run works, slower or nearer to its limits than it could
  kError,    // a run would fail, hang or be wrong
};
const char* SeverityName(Severity severity);  // "ok", "note", "warning", "error"

struct Finding {
  Severity severity = Severity::kOk;
  std::string area;  // "versions", "devices", "links", "ranks", "host", "disk"
  std::string seen;
  std::string fix = {};     // what to do; empty where there is nothing to do
  int exit_code = kExitIo;  // of an error
};
using Findings = std::vector<Finding>;

bool HasErrors(absl::Span<const Finding> findings);
// 0 without errors. Of several a hang's, which hides what is behind it, else the first error's.
int ExitCodeOf(absl::Span<const Finding> findings);

}  // namespace fttrain
