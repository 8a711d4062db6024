#include "data/formats/dataset.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "data/formats/row_reader.h"
#include "data/text/json_node.h"
#include "data/text/unicode.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

constexpr int64_t kJsonFileFactor = 64;
constexpr size_t kReadBytes = size_t{1} << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// A pipe would be read by one rank and keep the others waiting.
absl::Status CheckRegularFile(const std::string& path) {
  int64_t size_bytes = 0;
  FT_ASSIGN_OR_RETURN(const int fd, OpenRegularFile(path, &size_bytes));
  close(fd);
  return absl::OkStatus();
}

// Calls `line(text, number)` for every line of at most `max_bytes`, without its end (LF or CRLF)
// and without a leading BOM.
template <typename OnLine>
absl::Status ForEachLine(const std::string& path, int64_t max_bytes, const OnLine& on_line) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::string pending, block(kReadBytes, '\0');
  int64_t number = 0;
  const auto emit = [&](std::string_view text) -> absl::Status {
    ++number;
    if (number == 1 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    return on_line(text, number);
  };
  while (in) {
    in.read(block.data(), static_cast<std::streamsize>(block.size()));
    std::string_view rest(block.data(), static_cast<size_t>(in.gcount()));
    while (!rest.empty()) {
      const size_t end = rest.find('\n');
      pending.append(rest.substr(0, end));
      if (static_cast<int64_t>(pending.size()) > max_bytes) {
        return absl::InvalidArgumentError(
            absl::StrCat(path, ":", number + 1, ": the line is longer than ", max_bytes, " bytes"));
      }
      if (end == std::string_view::npos) break;
      FT_RETURN_IF_ERROR(emit(pending));
      pending.clear();
      rest.remove_prefix(end + 1);
    }
  }
  if (in.bad()) return absl::DataLossError(absl::StrCat(path, ": cannot be read"));
  if (!pending.empty()) FT_RETURN_IF_ERROR(emit(pending));
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> ParseText(std::string_view text, const std::string& source) {
  const size_t bad = FindInvalidUtf8(text);
  if (bad != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": not UTF-8 at byte ", bad));
  }
  return ParseJson(text, source);
}

absl::StatusOr<std::vector<Example>> LoadLines(const DatasetSpec& spec,
                                               const DatasetOptions& options) {
  std::vector<Example> examples;
  FT_RETURN_IF_ERROR(ForEachLine(
      spec.path, options.max_row_bytes, [&](std::string_view line, int64_t number) -> absl::Status {
        if (line.find_first_not_of(" \t") == std::string_view::npos) return absl::OkStatus();
        FT_ASSIGN_OR_RETURN(Example example, ParseRow(line, spec.format, options,
                                                      absl::StrCat(spec.path, ":", number)));
        examples.push_back(std::move(example));
        return absl::OkStatus();
      }));
  return examples;
}

absl::StatusOr<std::vector<Example>> LoadArray(const DatasetSpec& spec,
                                               const DatasetOptions& options) {
  std::ifstream in(spec.path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(absl::StrCat(spec.path, ": cannot be opened"));
  const int64_t size = in.tellg(), limit = options.max_row_bytes * kJsonFileFactor;
  if (size < 0 || size > limit) {
    return absl::InvalidArgumentError(absl::StrCat(spec.path, ": a .json file of at most ", limit,
                                                   " bytes is needed; .jsonl has no limit"));
  }
  std::string text(static_cast<size_t>(size), '\0');
  in.seekg(0);
  if (!in.read(text.data(), size)) {
    return absl::DataLossError(absl::StrCat(spec.path, ": cannot be read"));
  }
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  FT_ASSIGN_OR_RETURN(const nlohmann::json rows, ParseText(text, spec.path));
  if (!rows.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.path, ": a .json dataset is an array of rows, not ", rows.type_name(),
                     "; one object a line is .jsonl"));
  }
  std::vector<Example> examples;
  for (size_t i = 0; i < rows.size(); ++i) {
    FT_ASSIGN_OR_RETURN(Example example, ReadRow(rows[i], spec.format, options,
                                                 absl::StrCat(spec.path, "[", i, "]")));
    examples.push_back(std::move(example));
  }
  return examples;
}

}  // namespace

absl::StatusOr<Example> ParseRow(std::string_view json, const std::string& format,
                                 const DatasetOptions& options, const std::string& source) {
  FT_ASSIGN_OR_RETURN(const nlohmann::json row, ParseText(json, source));
  return ReadRow(row, format, options, source);
}

absl::StatusOr<std::vector<Example>> LoadExamples(const DatasetSpec& spec,
                                                  const DatasetOptions& options) {
  const bool lines = spec.path.ends_with(".jsonl");
  if (!lines && !spec.path.ends_with(".json")) {
    return absl::InvalidArgumentError(
        absl::StrCat(Printable(spec.path), ": the name must end in .jsonl or .json"));
  }
  FT_RETURN_IF_ERROR(CheckRegularFile(spec.path));
  FT_ASSIGN_OR_RETURN(std::vector<Example> examples,
                      lines ? LoadLines(spec, options) : LoadArray(spec, options));
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
