#include "data/formats/csv_rows.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/formats/json_scan.h"
#include "data/formats/json_text.h"
#include "data/text/unicode.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct Record {
  std::vector<std::string> fields;
  int64_t line = 0;         // where it begins
  std::string fault;        // of this record alone
  bool has_quotes = false;  // "" is a field, nothing is an empty line
  bool IsEmptyLine() const { return fields.size() == 1 && fields[0].empty() && !has_quotes; }
};

class Records {
 public:
  Records(ByteReader in, std::string path, size_t most, char separator)
      : in_(std::move(in)), path_(std::move(path)), most_(most), separator_(separator) {}

  // The next one that is no empty line; false behind the last.
  absl::StatusOr<bool> Next(Record* record) {
    do {
      FT_ASSIGN_OR_RETURN(const bool found, Read(record));
      if (!found) return false;
    } while (record->IsEmptyLine());
    return true;
  }
  absl::Status SkipByteOrderMark() {
    if (in_.Peek() != static_cast<unsigned char>(kByteOrderMark[0])) return in_.status();
    for (const char c : kByteOrderMark) {
      if (in_.Peek() != static_cast<unsigned char>(c)) return Error(line_, "not UTF-8");
      in_.Take(1);
    }
    return absl::OkStatus();
  }
  absl::Status Error(int64_t line, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ":", line, ": ", what));
  }

 private:
  enum class State { kFieldBegins, kPlain, kQuoted, kQuoteInQuoted, kCarriageReturn, kDone };

  absl::StatusOr<bool> Read(Record* record) {
    *record = {};
    record->line = line_;
    record_ = record;
    field_.clear();
    bytes_ = 0;
    state_ = State::kFieldBegins;
    while (state_ != State::kDone) {
      const std::string_view ahead = in_.Ahead();
      if (ahead.empty()) {
        FT_RETURN_IF_ERROR(in_.status());
        return AtEnd();
      }
      size_t used = 0;
      while (used < ahead.size() && state_ != State::kDone) {
        FT_RETURN_IF_ERROR(Take(ahead, &used));
      }
      in_.Take(used);
    }
    return true;
  }

  absl::StatusOr<bool> AtEnd() {
    if (state_ == State::kQuoted) {
      return Error(quote_line_,
                   "the quote that opens here is not closed: the file ends inside it; it is cut "
                   "off, or a quote in the text is not doubled");
    }
    if (state_ == State::kFieldBegins && record_->fields.empty()) return false;
    EndField();
    return true;
  }

  // What begins at ahead[*used], at least one byte of it.
  absl::Status Take(std::string_view ahead, size_t* used) {
    const char c = ahead[*used];
    switch (state_) {
      case State::kQuoted:
        *used += TakeText(ahead.substr(*used), ahead.find('"', *used) - *used);
        if (*used < ahead.size()) {
          state_ = State::kQuoteInQuoted;
          ++*used;
        }
        return absl::OkStatus();
      case State::kCarriageReturn:
        if (c != '\n') Fault("a CR that no LF follows: end lines in LF or CRLF");
        state_ = State::kPlain;
        if (c != '\n') return absl::OkStatus();
        break;
      case State::kQuoteInQuoted:
        if (c == '"') {
          ++*used;
          field_ += '"';
          state_ = State::kQuoted;
          return absl::OkStatus();
        }
        if (c != separator_ && c != '\n' && c != '\r') {
          return Error(line_, "text behind a closing quote: a quote in a text is doubled");
        }
        break;
      default:
        break;
    }
    return TakePlain(ahead, used);
  }

  absl::Status TakePlain(std::string_view ahead, size_t* used) {
    const char c = ahead[*used];
    if (c == separator_) {
      ++*used;
      EndField();
      state_ = State::kFieldBegins;
    } else if (c == '\n') {
      ++*used;
      ++line_;
      EndField();
      state_ = State::kDone;
    } else if (c == '\r') {
      ++*used;
      state_ = State::kCarriageReturn;
    } else if (c == '"' && state_ == State::kFieldBegins) {
      ++*used;
      record_->has_quotes = true;
      quote_line_ = line_;
      state_ = State::kQuoted;
    } else {
      if (c == '"') Fault("a quote inside a field that does not begin with one");
      const char ends[] = {separator_, '\n', '\r', '"'};
      const size_t end = ahead.find_first_of(std::string_view(ends, 4), *used + 1);
      *used += TakeText(ahead.substr(*used), std::min(end, ahead.size()) - *used);
      state_ = State::kPlain;
    }
    return absl::OkStatus();
  }

  // The first `count` bytes, or all that there are; returns how many.
  size_t TakeText(std::string_view text, size_t count) {
    text = text.substr(0, count);
    line_ += std::count(text.begin(), text.end(), '\n');
    bytes_ += text.size();
    if (bytes_ > most_) {
      Fault(absl::StrCat("the row is longer than ", most_, " bytes: split it"));
    } else {
      field_ += text;
    }
    return text.size();
  }

  void EndField() {
    record_->fields.push_back(std::move(field_));
    field_.clear();
  }
  void Fault(std::string what) {
    if (record_->fault.empty()) record_->fault = std::move(what);
  }

  ByteReader in_;
  std::string path_;
  size_t most_;
  char separator_;
  int64_t line_ = 1, quote_line_ = 1;
  // Of the record that is read.
  Record* record_ = nullptr;
  State state_ = State::kFieldBegins;
  std::string field_;
  size_t bytes_ = 0;
};

class CsvRows : public RowSource {
 public:
  CsvRows(Records records, std::string path)
      : records_(std::move(records)), path_(std::move(path)) {}

  absl::Status ReadHeader(char separator) {
    FT_RETURN_IF_ERROR(records_.SkipByteOrderMark());
    Record header;
    FT_ASSIGN_OR_RETURN(const bool found, records_.Next(&header));
    if (!found) return absl::OkStatus();
    if (!header.fault.empty()) return records_.Error(header.line, header.fault);
    const std::string& first = header.fields[0];
    const size_t other = first.find_first_of(separator == ',' ? ";\t|" : ",;|");
    if (header.fields.size() == 1 && other != std::string::npos && !header.has_quotes) {
      return records_.Error(
          header.line,
          absl::StrCat("the header has one column, '", Printable(first),
                       "': columns are separated by ", separator == ',' ? "commas" : "tabs",
                       " in a file of this name: write them so"));
    }
    std::vector<std::string> names = header.fields;
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      return records_.Error(header.line, absl::StrCat("two columns are called '", Printable(*twice),
                                                      "': rename one"));
    }
    for (const std::string& name : header.fields) {
      if (FindInvalidUtf8(name) != std::string_view::npos) {
        return records_.Error(header.line, "the header is not UTF-8: save the file as UTF-8");
      }
      AppendJsonString(name, &keys_.emplace_back());
      names_.push_back(name);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<SourceRow>> Next() override {
    if (keys_.empty()) return std::nullopt;
    Record record;
    FT_ASSIGN_OR_RETURN(const bool found, records_.Next(&record));
    if (!found) return std::nullopt;
    SourceRow row;
    row.is_of_table = true;
    row.where = absl::StrCat(path_, ":", record.line);
    const std::string fault = FaultOf(record);
    if (!fault.empty()) {
      row.fault = absl::InvalidArgumentError(absl::StrCat(row.where, ": ", fault));
      return row;
    }
    row.text.push_back('{');
    for (size_t i = 0; i < keys_.size(); ++i) {
      absl::StrAppend(&row.text, i == 0 ? "" : ", ", keys_[i], ": ");
      AppendJsonString(record.fields[i], &row.text);
    }
    row.text.push_back('}');
    return row;
  }

 private:
  std::string FaultOf(const Record& record) const {
    if (!record.fault.empty()) return record.fault;
    if (record.fields.size() != keys_.size()) {
      return absl::StrCat(record.fields.size(), record.fields.size() == 1 ? " field" : " fields",
                          ", but the header names ", keys_.size(),
                          ": a separator or a line end in a text must be quoted");
    }
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (FindInvalidUtf8(record.fields[i]) == std::string_view::npos) continue;
      return absl::StrCat("column '", Printable(names_[i]),
                          "' is not UTF-8: save the file as UTF-8");
    }
    return "";
  }

  Records records_;
  std::string path_;
  std::vector<std::string> keys_;  // as JSON
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenCsv(ByteReader in, const std::string& path,
                                                   int64_t max_row_bytes, char separator) {
  const std::string shown = PathInWords(path);
  auto rows = std::make_unique<CsvRows>(
      Records(std::move(in), shown, static_cast<size_t>(max_row_bytes), separator), shown);
  FT_RETURN_IF_ERROR(rows->ReadHeader(separator));
  return rows;
}

}  // namespace fttrain
