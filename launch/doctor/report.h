// The doctor's findings as people and programs read them.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "launch/doctor/facts.h"
#include "launch/doctor/finding.h"

namespace fttrain {

// A line a finding, by area, its fix beneath; the last line counts them. Ends with a line end.
std::string FindingsText(absl::Span<const Finding> findings);
// {"findings": [{"severity", "area", "seen", "fix"}], "measured": {...}, "ok": no errors}.
std::string FindingsJson(absl::Span<const Finding> findings, const Facts& facts);
// The errors in one line; empty without any.
std::string ErrorsLine(absl::Span<const Finding> findings);

}  // namespace fttrain
