#include "launch/init/fit_to_rows.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/chat/source.h"
#include "data/formats/dataset.h"
#include "launch/check/rows.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kRows = 100;            // that are looked at
constexpr int64_t kUsualLength = 2048;    // tokens of a row
constexpr int64_t kShortestLength = 256;  // likewise
constexpr double kFewPackedRows = 64;     // of an epoch: then an example is a row
constexpr double kGoodSteps = 30;         // of a run, at least

absl::StatusOr<RowsSeen> Look(const Starter& starter,
                              const std::vector<std::string>& accepted = {}) {
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded,
                      config::ParseRunConfig(StarterYaml(starter), "run.yaml", {}));
  ExpandPaths(loaded.config);
  return LookAtRows(std::move(loaded), /*world_size=*/1, kRows, accepted);
}

// The project's templates, those before whose tokens the tokenizer must have.
std::vector<std::string> Builtins() {
  std::vector<std::string> names;
  for (const bool has_tokens : {true, false}) {
    for (const auto& [name, text] : BuiltinChatTemplates()) {
      if (BuiltinChatTokens(name).empty() != has_tokens) names.push_back(name);
    }
  }
  return names;
}

// With the first of the project's templates that will do; null where none does.
std::optional<RowsSeen> LookWithBuiltins(const std::vector<std::string>& accepted, const char* why,
                                         Starter& starter) {
  for (const std::string& name : Builtins()) {
    starter.chat_template = name;
    starter.template_why = why;
    absl::StatusOr<RowsSeen> seen = Look(starter, accepted);
    if (seen.ok()) return *std::move(seen);
  }
  return std::nullopt;
}

// With the model's own template or, where it has none or one that ends no answer, the first of the
// project's that will do.
absl::StatusOr<RowsSeen> LookWithTemplate(const std::string& folder, Starter& starter) {
  starter.chat_template = "auto";
  absl::StatusOr<RowsSeen> seen = Look(starter);
  if (seen.ok() && !seen->uses_template) starter.chat_template.clear();
  if (seen.ok()) return seen;
  std::optional<RowsSeen> with;
  if (absl::IsNotFound(FolderChatTemplates(folder).status())) {
    with = LookWithBuiltins({}, "the model has none of its own: one whose tokens it has", starter);
  } else if (Look(starter, {"ends"}).ok()) {
    with = LookWithBuiltins(
        {}, "the model's own ends no answer with a token: this one writes the same, and an end",
        starter);
    if (!with) {
      with = LookWithBuiltins({"template"},
                              "the model's own ends no answer with a token, and this one writes "
                              "otherwise: `check` wants --accept=template",
                              starter);
    }
  }
  if (with) return *std::move(with);
  return seen;
}

// `least`, 2 least, 4 least, ...: the first that is not below `n`.
int64_t RoundUpByDoubling(int64_t n, int64_t least) {
  while (least < n) least *= 2;
  return least;
}

}  // namespace

absl::Status FitToFile(const ModelSpec& model, Starter& starter) {
  FT_ASSIGN_OR_RETURN(FoundFormat found,
                      FromFile(FindFormat({starter.data, RowFormat::kAuto}, DatasetOptions())));
  starter.format = FormatName(found.format);
  starter.format_why = std::move(found.why);
  if (NeedsOf(found.format).chat) starter.chat_template = "auto";
  if (starter.sequence_len == 0) {
    starter.sequence_len = std::min(kUsualLength, model.max_position_embeddings);
  }
  return absl::OkStatus();
}

absl::Status FitToRows(const std::string& folder, const ModelSpec& model, Starter& starter) {
  starter.warmup_steps = 0;  // until the number of steps is known
  const int64_t asked = starter.sequence_len;
  FT_RETURN_IF_ERROR(FitToFile(model, starter));
  const int64_t most = starter.sequence_len;
  FT_ASSIGN_OR_RETURN(const RowsSeen seen, LookWithTemplate(folder, starter));
  for (const std::string& warning : seen.warnings) LogInfo("warning    " + warning);
  starter.longest = seen.longest;
  const double packed = seen.epoch_tokens / static_cast<double>(starter.sequence_len);
  starter.packing = packed >= kFewPackedRows;
  if (!starter.packing && asked == 0) {
    starter.sequence_len = std::min(most, RoundUpByDoubling(seen.longest, kShortestLength));
  }
  const double rows = starter.epochs * (starter.packing ? packed : seen.examples);
  while (starter.rows_per_step > 1 &&
         rows < kGoodSteps * static_cast<double>(starter.rows_per_step)) {
    starter.rows_per_step /= 2;
  }
  const double steps = std::floor(rows / static_cast<double>(starter.rows_per_step));
  starter.warmup_steps = std::min<int64_t>(10, static_cast<int64_t>(steps / 10));
  return absl::OkStatus();
}

}  // namespace fttrain
