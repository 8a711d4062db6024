#include "data/formats/json_rows.h"

#include <fstream>
#include <string_view>

#include "data/formats/row_source.h"
#include "data/text/unicode.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr int64_t kJsonFileFactor = 64;
constexpr size_t kReadBytes = size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

absl::StatusOr<nlohmann::json> ParseText(std::string_view text, const std::string& where) {
  const size_t bad = FindInvalidUtf8(text);
  if (bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": not UTF-8 at byte ", bad));
  }
  return ParseJson(text, where);
}

class JsonLines : public RowSource {
 public:
  JsonLines(std::ifstream in, const std::string& path, int64_t max_row_bytes)
      : in_(std::move(in)), path_(path), max_row_bytes_(max_row_bytes), block_(kReadBytes, '\0') {}

  absl::StatusOr<std::optional<SourceRow>> Next() override {
    for (;;) {
      FT_ASSIGN_OR_RETURN(const bool found, ReadLine());
      if (!found) return std::nullopt;
      std::string_view line = line_;
      if (number_ == 1 && line.starts_with(kByteOrderMark)) {
        line.remove_prefix(kByteOrderMark.size());
      }
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
      SourceRow row{{}, absl::StrCat(path_, ":", number_), line.size()};
      FT_ASSIGN_OR_RETURN(row.value, ParseText(line, row.where));
      return row;
    }
  }

 private:
  // The next line without its LF, into line_; false at the file's end.
  absl::StatusOr<bool> ReadLine() {
    line_.clear();
    ++number_;
    for (;;) {
      if (rest_.empty()) {
        in_.read(block_.data(), static_cast<std::streamsize>(block_.size()));
        rest_ = std::string_view(block_.data(), static_cast<size_t>(in_.gcount()));
      }
      if (rest_.empty()) break;
      const size_t end = rest_.find('\n');
      line_.append(rest_.substr(0, end));
      if (static_cast<int64_t>(line_.size()) > max_row_bytes_) {
        return absl::InvalidArgumentError(absl::StrCat(
            path_, ":", number_, ": the line is longer than ", max_row_bytes_, " bytes"));
      }
      rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
      if (end != std::string_view::npos) return true;
    }
    if (in_.bad()) return absl::DataLossError(absl::StrCat(path_, ": cannot be read"));
    return !line_.empty();
  }

  std::ifstream in_;
  std::string path_;
  int64_t max_row_bytes_;
  std::string block_, line_;
  std::string_view rest_;  // of block_: what is read and not yet taken
  int64_t number_ = 0;     // of line_, from 1
};

class JsonArray : public RowSource {
 public:
  JsonArray(nlohmann::json rows, const std::string& path) : rows_(std::move(rows)), path_(path) {}

  absl::StatusOr<std::optional<SourceRow>> Next() override {
    if (next_ == rows_.size()) return std::nullopt;
    SourceRow row{std::move(rows_[next_]), absl::StrCat(path_, "[", next_, "]"), 0};
    ++next_;
    return row;
  }

 private:
  nlohmann::json rows_;
  std::string path_;
  size_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenJsonLines(const std::string& path,
                                                         int64_t max_row_bytes) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  return std::make_unique<JsonLines>(std::move(in), path, max_row_bytes);
}

absl::StatusOr<std::unique_ptr<RowSource>> OpenJsonArray(const std::string& path,
                                                         int64_t max_row_bytes) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  const int64_t size = in.tellg(), limit = max_row_bytes * kJsonFileFactor;
  if (size < 0 || size > limit) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a .json file of at most ", limit,
                                                   " bytes is needed; .jsonl has no limit"));
  }
  std::string text(static_cast<size_t>(size), '\0');
  in.seekg(0);
  if (!in.read(text.data(), size)) {
    return absl::DataLossError(absl::StrCat(path, ": cannot be read"));
  }
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  FT_ASSIGN_OR_RETURN(nlohmann::json rows, ParseText(text, path));
  if (!rows.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": a .json dataset is an array of rows, not ", rows.type_name(),
                     "; one object a line is .jsonl"));
  }
  return std::make_unique<JsonArray>(std::move(rows), path);
}

}  // namespace fttrain
