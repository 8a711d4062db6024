#include "launch/check/check.h"

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/check/rows.h"
#include "launch/as_started.h"
#include "launch/commands/commands.h"
#include "launch/run/train_plan.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::StatusOr<CheckOptions> OptionsOf(const CommandLine& line) {
  CheckOptions options;
  FT_ASSIGN_OR_RETURN(options.rows, line.Number<int64_t>(
                                        "n", [](int64_t n) { return n >= 10 && n <= 100; },
                                        "a number of rows, 10 to 100"));
  options.accepted = absl::StrSplit(line.Get("accept"), ',', absl::SkipEmpty());
  for (const std::string& word : options.accepted) {
    if (std::count(std::begin(kAcceptable), std::end(kAcceptable), word) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("--accept=", Printable(word), ": must be of ",
                                                   absl::StrJoin(kAcceptable, ", ")));
  }
  return options;
}

}  // namespace

absl::Status CheckCommand(const CommandLine& line, const Process& process) {
  const bool json = line.Has("json");
  if (json) SendInfoToStderr();
  const absl::StatusOr<CheckOptions> options = OptionsOf(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(options.status()));
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  CheckReport report;
  const absl::Status status = Check(*loaded, *options, process, report);
  if (process.rank() == 0) {
    const std::string text =
        json ? absl::StrCat(CheckJson(report), "\n")
             : absl::StrCat("\n", AsStarted(CheckText(report)), "\n");
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }
  return status;
}

}  // namespace fttrain
