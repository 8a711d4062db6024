#include "data/formats/dataset.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/formats/bytes.h"
#include "data/formats/cells.h"
#include "data/formats/for_each_index.h"
#include "data/formats/formats.h"
#include "data/formats/row_reader.h"
#include "data/formats/row_source.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// What is read ahead of the threads, and all that is held of a file: so many rows, or those that
// reach so many bytes.
constexpr size_t kBatchRows = 1024;
constexpr size_t kBatchBytes = size_t{1} << 24;

// One file while it is read.
class Loader {
 public:
  Loader(const DatasetSpec& spec, const DatasetOptions& options, KeyNames names, ExampleSink& sink)
      : path_(PathInWords(spec.path)), options_(options), names_(std::move(names)), sink_(sink) {
    report_.path = spec.path;
  }

  absl::StatusOr<DatasetReport> Load(RowSource* rows, FoundFormat format) {
    report_.format = format.format;
    report_.why = std::move(format.why);
    for (const std::string& key : rows->Beside()) report_.unused[Printable(key)] = 1;
    FT_RETURN_IF_ERROR(ReadAll(rows));
    FT_RETURN_IF_ERROR(CheckExamples());
    return std::move(report_);
  }

 private:
  struct Read {
    absl::StatusOr<std::vector<Example>> examples;
    RowNotes notes;
  };

  // Of the file as a whole.
  absl::Status CheckExamples() const {
    const DatasetReport& report = report_;
    if (report.rows == 0) {
      return absl::InvalidArgumentError(absl::StrCat(path_, ": there are no rows"));
    }
    if (!any_target_) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": none of its ", report.rows == options_.most_rows ? "first " : "",
                       report.rows, " rows has a token to learn: every label is masked"));
    }
    if (report.shifted_labels == 0 || report.shifted_labels < telling_labels_) {
      return absl::OkStatus();
    }
    const auto key = [&](const char* name) { return names_.KeyOf(KeyLevel::kRow, name); };
    const absl::string_view ids = key("input_ids"), labels = key("labels");
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ": in all of its rows that tell (", telling_labels_,
        "; the first: ", report.first_shifted, ") ", Quoted(labels), " are shifted already, ",
        labels, "[i] is ", ids, "[i + 1]; the shift is made here: write ", labels, "[i] = ", ids,
        "[i] where token i is to be learnt, ", kNoTarget, " elsewhere"));
  }

  absl::Status ReadAll(RowSource* rows) {
    std::vector<SourceRow> batch;
    size_t bytes = 0;
    absl::Status ended;
    for (bool more = true; more;) {
      const int64_t read = report_.rows + static_cast<int64_t>(batch.size());
      const bool enough = options_.most_rows > 0 && read >= options_.most_rows;
      absl::StatusOr<std::optional<SourceRow>> row = std::optional<SourceRow>();
      if (!enough) row = rows->Next();
      more = row.ok() && row->has_value();
      if (more) {
        bytes += (*row)->text.size();
        batch.push_back(**std::move(row));
        if (batch.size() < kBatchRows && bytes < kBatchBytes) continue;
      }
      FT_RETURN_IF_ERROR(ReadBatch(batch));
      ended = row.status();
      batch.clear();
      bytes = 0;
    }
    return Verdict(ended);
  }

  // A row is added as soon as those before it are: what it takes is free for the next ones.
  absl::Status ReadBatch(const std::vector<SourceRow>& rows) {
    std::vector<std::optional<Read>> read(rows.size());
    std::mutex mutex;
    size_t next = 0;  // to be added
    absl::Status added;
    ForEachIndex(rows.size(), options_.threads, [&](size_t i) {
      Read row;
      const RowContext context{options_, names_, &row.notes};
      row.examples = ReadRow(rows[i], report_.format, context);
      const std::lock_guard<std::mutex> lock(mutex);
      read[i] = std::move(row);
      for (; next < read.size() && read[next].has_value(); ++next) {
        if (added.ok()) added = Add(&*read[next]);
        read[next].reset();
      }
    });
    return added;
  }

  absl::Status Add(Read* row) {
    DatasetReport& report = report_;
    ++report.rows;
    if (!row->examples.ok()) {
      ++report.skipped;
      if (report.faults.size() < kMaxFaults) {
        report.faults.emplace_back(row->examples.status().message());
      }
      return absl::OkStatus();
    }
    for (const std::string& key : row->notes.unused) ++report.unused[key];
    report.straddling += row->notes.straddling;
    report.dropped_reasoning += row->notes.dropped_reasoning;
    report.cut_texts += row->notes.cut_texts;
    report.pieces += row->notes.pieces;
    const std::string where = row->examples->empty() ? "" : row->examples->front().source;
    if (!row->notes.special_text.empty() && report.special_texts++ == 0) {
      report.first_special_text = absl::StrCat(where, ": ", row->notes.special_text);
    }
    telling_labels_ += row->notes.labels_tell;
    if (row->notes.labels_are_shifted && report.shifted_labels++ == 0) report.first_shifted = where;
    for (Example& example : *row->examples) {
      const auto tokens = static_cast<int64_t>(example.input_ids.size());
      any_target_ = any_target_ || CountTargets(example, tokens) > 0;
      FT_RETURN_IF_ERROR(sink_.Add(std::move(example)));
    }
    return absl::OkStatus();
  }

  // The bad rows, if they end the reading, and what ended the file before its time.
  absl::Status Verdict(const absl::Status& ended) const {
    const DatasetReport& report = report_;
    const bool all = report.skipped > 0 && report.skipped == report.rows;
    std::vector<std::string> lines;
    if (options_.on_bad_row == OnBadRow::kStop || all) lines = report.faults;
    if (!lines.empty() && report.skipped > kMaxFaults) {
      lines.push_back(absl::StrCat(path_, ": ... and ", report.skipped - kMaxFaults,
                                   " more bad rows (", report.skipped, " of ", report.rows,
                                   " rows are bad)"));
    }
    if (lines.empty()) return ended;
    if (!ended.ok()) lines.emplace_back(ended.message());
    return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
  }

  std::string path_;
  const DatasetOptions& options_;
  KeyNames names_;
  ExampleSink& sink_;
  DatasetReport report_;
  bool any_target_ = false;
  int64_t telling_labels_ = 0;  // rows that have enough of them
};

absl::Status InFile(const DatasetSpec& spec, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(PathInWords(spec.path), ": ", what));
}

absl::Status CheckOptions(const DatasetSpec& spec, RowFormat format,
                          const DatasetOptions& options) {
  const FormatNeeds needs = NeedsOf(format);
  if (needs.tokenizer && options.tokenizer == nullptr) {
    return InFile(spec, absl::StrCat("data format '", FormatName(format), "' needs a tokenizer"));
  }
  if (format == RowFormat::kText && options.tokenizer->EosToken().empty()) {
    return InFile(spec, "the tokenizer names no eos_token to end a text with");
  }
  if (options.turns == Turns::kEach && options.train_on == TrainOn::kPrompt) {
    return InFile(spec,
                  "an example for each turn, with its prompt learnt, learns the turns before again "
                  "and again: choose one of the two");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenFile(const DatasetSpec& spec,
                                                    const DatasetOptions& options) {
  return OpenRows(spec.path, options.max_row_bytes, TellingKeys(spec));
}

absl::Status NoFormat(const RowObject& row, const std::vector<FoundFormat>& guesses) {
  std::vector<std::string> words;
  if (guesses.empty()) {
    for (const auto& [key, value] : row.json().items()) {
      if (words.size() < 10) words.push_back(Quoted(key));
    }
    return row.Error(absl::StrCat("no format is known by the keys of this row, ",
                                  absl::StrJoin(words, ", "),
                                  ": set format, and fields for keys of other names"));
  }
  for (const FoundFormat& guess : guesses) {
    words.push_back(absl::StrCat(FormatName(guess.format), " (", guess.why, ")"));
  }
  return row.Error(absl::StrCat("the row may be ", absl::StrJoin(words, " or "), ": set format"));
}

}  // namespace

absl::StatusOr<FoundFormat> FindFormat(const DatasetSpec& spec, const DatasetOptions& options) {
  if (spec.format != RowFormat::kAuto) return FoundFormat{spec.format, ""};
  const absl::StatusOr<KeyNames> names = KeyNames::Create(spec.fields, RowFormat::kAuto);
  if (!names.ok()) return InFile(spec, names.status().message());
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows, OpenFile(spec, options));
  RowNotes notes;
  const RowContext context{options, *names, &notes};
  std::string first_fault;
  int64_t empty = 0;  // rows that have nothing to tell by
  for (;;) {
    FT_ASSIGN_OR_RETURN(const std::optional<SourceRow> row, rows->Next());
    if (!row.has_value()) break;
    const absl::StatusOr<RowJson> json = JsonOf(*row, *names);
    if (!json.ok() && first_fault.empty()) first_fault = std::string(json.status().message());
    if (!json.ok()) continue;
    const RowObject object(*json, row->where, KeyLevel::kRow, context);
    if (!json->is_object()) {
      if (first_fault.empty()) first_fault = std::string(NoObject(object).message());
      continue;
    }
    ++empty;
    if (IsNothing(*json)) continue;
    const std::vector<FoundFormat> guesses = GuessFormats(object);
    if (guesses.size() == 1) return guesses[0];
    if (guesses.empty() && HasTellingKey(object)) continue;  // a row like others, but empty
    return NoFormat(object, guesses);
  }
  if (!first_fault.empty()) return absl::InvalidArgumentError(first_fault);
  if (empty == 0) return InFile(spec, "there are no rows");
  return InFile(spec, absl::StrCat("of ", empty, empty == 1 ? " row" : " rows",
                                   " none has something under all the keys that tell a format: "
                                   "set format"));
}

absl::StatusOr<int64_t> CountRows(const DatasetSpec& spec, const DatasetOptions& options) {
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows, OpenFile(spec, options));
  for (int64_t count = 0;; ++count) {
    FT_ASSIGN_OR_RETURN(const std::optional<SourceRow> row, rows->Next());
    if (!row) return count;
  }
}

absl::StatusOr<DatasetReport> ReadDataset(const DatasetSpec& spec, const DatasetOptions& options,
                                          ExampleSink& sink) {
  FT_ASSIGN_OR_RETURN(FoundFormat found, FindFormat(spec, options));
  absl::StatusOr<KeyNames> names = KeyNames::Create(spec.fields, found.format);
  if (!names.ok()) return InFile(spec, names.status().message());
  FT_RETURN_IF_ERROR(CheckOptions(spec, found.format, options));
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> rows, OpenFile(spec, options));
  return Loader(spec, options, *std::move(names), sink).Load(rows.get(), std::move(found));
}

absl::StatusOr<Dataset> LoadDataset(const DatasetSpec& spec, const DatasetOptions& options) {
  struct Kept : ExampleSink {
    absl::Status Add(Example example) override {
      examples.push_back(std::move(example));
      return absl::OkStatus();
    }
    std::vector<Example> examples;
  } kept;
  Dataset out;
  FT_ASSIGN_OR_RETURN(out.report, ReadDataset(spec, options, kept));
  out.examples = std::move(kept.examples);
  return out;
}

}  // namespace fttrain
