#include "data/formats/dataset.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/formats/row_reader.h"
#include "data/formats/row_source.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::StatusOr<std::vector<Example>> LoadExamples(const DatasetSpec& spec,
                                                  const DatasetOptions& options) {
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows,
                      OpenRows(spec.path, options.max_row_bytes));
  std::vector<Example> examples;
  for (;;) {
    FT_ASSIGN_OR_RETURN(const std::optional<SourceRow> row, rows->Next());
    if (!row.has_value()) break;
    FT_ASSIGN_OR_RETURN(Example example, ReadRow(*row, spec.format, options));
    examples.push_back(std::move(example));
  }
  if (examples.empty())
    return absl::InvalidArgumentError(absl::StrCat(spec.path, ": there are no rows"));
  const bool any = std::any_of(examples.begin(), examples.end(), [](const Example& e) {
    return CountTargets(e, static_cast<int64_t>(e.input_ids.size())) > 0;
  });
  if (!any) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.path, ": none of its ", examples.size(),
                     " rows has a token to learn: every label is masked"));
  }
  return examples;
}

}  // namespace fttrain
