#include "data/formats/dataset.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>

#include "absl/strings/str_cat.h"
#include "data/formats/row_reader.h"
#include "data/formats/row_source.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// What is parsed ahead of the threads, and all that is held of a file: so many rows, or those that
// reach so many bytes.
constexpr size_t kBatchRows = 1024;
constexpr size_t kBatchBytes = size_t{1} << 24;

// f(0), ..., f(count - 1), each once, on `threads` threads, or on those that start. Throws what the
// first of them threw.
template <typename F>
void ForEachIndex(size_t count, int threads, const F& f) {
  std::atomic<size_t> next = 0;
  std::vector<std::exception_ptr> thrown(static_cast<size_t>(std::max(threads, 1)));
  const auto work = [&](std::exception_ptr* caught) {
    try {
      for (size_t i = next++; i < count; i = next++) f(i);
    } catch (...) {
      *caught = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(thrown.size());
  try {
    for (size_t t = 1; t < std::min(thrown.size(), count); ++t) {
      others.emplace_back(work, &thrown[t]);
    }
  } catch (const std::system_error&) {
    // A limit of the machine or the container: those there are do the work.
  }
  work(&thrown[0]);
  for (std::thread& thread : others) thread.join();
  for (const std::exception_ptr& caught : thrown) {
    if (caught) std::rethrow_exception(caught);
  }
}

// Appends the rows' examples in order; the first bad row is the error.
absl::Status ReadBatch(const std::vector<SourceRow>& rows, RowFormat format,
                       const DatasetOptions& options, std::vector<Example>* examples) {
  std::vector<absl::StatusOr<Example>> read(rows.size());
  ForEachIndex(rows.size(), options.threads,
               [&](size_t i) { read[i] = ReadRow(rows[i], format, options); });
  for (absl::StatusOr<Example>& example : read) {
    FT_RETURN_IF_ERROR(example.status());
    examples->push_back(*std::move(example));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Example>> LoadExamples(const DatasetSpec& spec,
                                                  const DatasetOptions& options) {
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows,
                      OpenRows(spec.path, options.max_row_bytes));
  std::vector<Example> examples;
  std::vector<SourceRow> batch;
  size_t bytes = 0;
  for (bool more = true; more;) {
    absl::StatusOr<std::optional<SourceRow>> row = rows->Next();
    more = row.ok() && row->has_value();
    if (more) {
      bytes += (*row)->bytes;
      batch.push_back(**std::move(row));
      if (batch.size() < kBatchRows && bytes < kBatchBytes) continue;
    }
    // Rows before one that cannot be parsed are judged first.
    FT_RETURN_IF_ERROR(ReadBatch(batch, spec.format, options, &examples));
    FT_RETURN_IF_ERROR(row.status());
    batch.clear();
    bytes = 0;
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
