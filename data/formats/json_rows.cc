#include "data/formats/json_rows.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "data/formats/json_scan.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::Status TooLong(const std::string& where, const char* what, size_t most) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": ", what, " is longer than ", most, " bytes: split it"));
}

class JsonLines : public RowSource {
 public:
  JsonLines(ByteReader in, const std::string& path, int64_t max_row_bytes)
      : in_(std::move(in)), path_(PathInWords(path)), most_(static_cast<size_t>(max_row_bytes)) {}

  absl::StatusOr<std::optional<SourceRow>> Next() override {
    for (;;) {
      SourceRow row;
      bool cut = false;
      FT_ASSIGN_OR_RETURN(const bool found, ReadLine(&row.text, &cut));
      if (!found) return std::nullopt;
      row.where = absl::StrCat(path_, ":", number_);
      if (cut) row.fault = TooLong(row.where, "the line", most_);
      if (number_ == 1 && row.text.starts_with(kByteOrderMark)) {
        row.text.erase(0, kByteOrderMark.size());
      }
      if (!row.text.empty() && row.text.back() == '\r') row.text.pop_back();
      if (cut || row.text.find_first_not_of(" \t") != std::string::npos) return row;
    }
  }

 private:
  // The next line without its LF; false at the file's end. What is too much of it is passed over.
  absl::StatusOr<bool> ReadLine(std::string* line, bool* cut) {
    ++number_;
    bool any = false, ended = false;
    while (!ended) {
      const std::string_view ahead = in_.Ahead();
      if (ahead.empty()) break;
      any = true;
      const size_t end = ahead.find('\n');
      ended = end != std::string_view::npos;
      const std::string_view part = ahead.substr(0, end);
      *cut |= line->size() + part.size() > most_;
      line->append(part.substr(0, most_ - line->size()));
      in_.Take(part.size() + (ended ? 1 : 0));
    }
    FT_RETURN_IF_ERROR(in_.status());
    return any;
  }

  ByteReader in_;
  std::string path_;
  size_t most_;
  int64_t number_ = 0;  // of the line, from 1
};

class JsonArray : public RowSource {
 public:
  // `in` stands at the array's "[". `wrapped`: in an object, which ends or goes on behind it.
  JsonArray(ByteReader in, const std::string& path, int64_t max_row_bytes,
            std::vector<std::string> beside, bool wrapped)
      : in_(std::move(in)),
        path_(PathInWords(path)),
        most_(static_cast<size_t>(max_row_bytes)),
        beside_(std::move(beside)),
        wrapped_(wrapped) {}

  absl::StatusOr<std::optional<SourceRow>> Next() override {
    if (ended_) return std::nullopt;
    const bool first = next_ == 0;
    if (first) in_.Take(1);
    SkipSpace(&in_);
    if (in_.Peek() == ']') return End();
    if (!first) {
      if (in_.Peek() != ',') return Broken("',' or ']' is missing behind the row before");
      in_.Take(1);
      SkipSpace(&in_);
    }
    SourceRow row;
    row.where = absl::StrCat(path_, "[", next_, "]");
    switch (ScanValue(&in_, most_, &row.text)) {
      case Scanned::kValue:
        break;
      case Scanned::kTooLong:
        row.fault = TooLong(row.where, "the row", most_);
        break;
      case Scanned::kCut:
        return Broken("the file ends here, before the array's ']'");
      case Scanned::kBroken:
        return Broken("no row, or a line ends inside a string of it");
    }
    ++next_;
    return row;
  }
  std::vector<std::string> Beside() const override { return beside_; }

 private:
  absl::Status Broken(const char* what) const {
    FT_RETURN_IF_ERROR(in_.status());
    return absl::InvalidArgumentError(
        absl::StrCat(path_, "[", next_, "]: not valid JSON, line ", in_.lines() + 1, ": ", what));
  }
  absl::StatusOr<std::optional<SourceRow>> End() {
    ended_ = true;
    in_.Take(1);
    SkipSpace(&in_);
    if (!wrapped_ && in_.Peek() >= 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          path_, ": not valid JSON, line ", in_.lines() + 1, ": the array's ']' is not the end"));
    }
    FT_RETURN_IF_ERROR(in_.status());
    return std::nullopt;
  }

  ByteReader in_;
  std::string path_;
  size_t most_, next_ = 0;
  std::vector<std::string> beside_;
  bool wrapped_, ended_ = false;
};

}  // namespace

std::unique_ptr<RowSource> OpenJsonLines(ByteReader in, const std::string& path,
                                         int64_t max_row_bytes) {
  return std::make_unique<JsonLines>(std::move(in), path, max_row_bytes);
}

std::unique_ptr<RowSource> OpenJsonArray(ByteReader in, const std::string& path,
                                         int64_t max_row_bytes) {
  SkipSpace(&in);
  return std::make_unique<JsonArray>(std::move(in), path, max_row_bytes, std::vector<std::string>(),
                                     false);
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenWrappedArray(ByteReader in, const std::string& path,
                                                            int64_t max_row_bytes,
                                                            const std::string& list,
                                                            std::vector<std::string> beside) {
  SkipSpace(&in);
  while (in.Peek() >= 0) {  // "{" or ","
    in.Take(1);
    SkipSpace(&in);
    const std::optional<std::string> key = ScanKey(&in);
    if (!key.has_value()) break;
    SkipSpace(&in);
    if (*key == list) {
      return std::make_unique<JsonArray>(std::move(in), path, max_row_bytes, std::move(beside),
                                         true);
    }
    ScanValue(&in, 0, nullptr);
    SkipSpace(&in);
  }
  FT_RETURN_IF_ERROR(in.status());
  return absl::InvalidArgumentError(
      absl::StrCat(PathInWords(path), ": the file changed while it was read"));
}

}  // namespace fttrain
