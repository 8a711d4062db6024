#include "data/formats/first_bytes.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "data/formats/bytes.h"

namespace fttrain {
namespace {

constexpr const char* kPandas = "as JSON Lines: pandas.";
constexpr const char* kToJson = "(...).to_json('rows.jsonl', orient='records', lines=True)";

struct Kind {
  std::string_view begins;  // the file
  std::string_view ends;    // or its name, in lower case
  const char* what;
  const char* pandas;  // its function that reads it
  const char* remedy;  // where there is none
};

constexpr Kind kKinds[] = {
    {"PARE", "", "an encrypted Parquet file", "", "write it without encryption"},
    {"", ".parquet", "called a Parquet file, but does not begin as one", "",
     "it is damaged or something else: copy or write it again"},
    {"ARROW1", ".feather", "an Arrow file", "read_feather", ""},
    {"\xFF\xFF\xFF\xFF", ".arrow", "an Arrow stream", "",
     "write it as JSON Lines: datasets.Dataset.from_file(...).to_json('rows.jsonl')"},
    {"FEA1", "", "a Feather file", "read_feather", ""},
    {"ORC", ".orc", "an ORC file", "read_orc", ""},
    {"Obj\x01", ".avro", "an Avro file", "", "write it as JSON Lines"},
    {"", ".xlsx", "a spreadsheet", "read_excel", ""},
    {"", ".xls", "a spreadsheet", "read_excel", ""},
    {"\x93NUMPY", ".npy", "a NumPy array", "", "write its rows as JSON Lines"},
    {"\x89HDF", ".h5", "an HDF5 file", "", "write its rows as JSON Lines"},
    {"SQLite format 3", ".db", "an SQLite database", "read_sql", ""},
    {"PK\x03\x04", ".zip", "a zip archive", "", "unpack it"},
    {"\x28\xB5\x2F\xFD", ".zst", "compressed with zstd", "", "unpack it (zstd -d) or use gzip"},
    {"\xFD"
     "7zXZ",
     ".xz", "compressed with xz", "", "unpack it (unxz) or use gzip"},
    {"BZh", ".bz2", "compressed with bzip2", "", "unpack it (bunzip2) or use gzip"},
    {"7z\xBC\xAF", ".7z", "a 7z archive", "", "unpack it"},
    {"", ".tar", "a tar archive", "", "unpack it"},
    {"", ".tgz", "a tar archive", "", "unpack it"},
    {"\x80\x02", ".pkl", "a Python pickle", "", "write its rows as JSON Lines"},
    {"\x80\x04", ".pt", "a Python pickle", "", "write its rows as JSON Lines"},
    {"\x80\x05", ".pickle", "a Python pickle", "", "write its rows as JSON Lines"},
    {"<!DOCTYPE", "", "a web page", "", "download the file itself"},
    {"<!doctype", "", "a web page", "", "download the file itself"},
    {"<html", "", "a web page", "", "download the file itself"},
};

// JSON of ASCII characters in UTF-16 or UTF-32 has zeros for every other byte.
std::string WideEncoding(std::string_view head) {
  const auto begins = [&](std::string_view bytes) { return head.starts_with(bytes); };
  if (begins("\xFF\xFE") && !begins(std::string_view("\xFF\xFE\0\0", 4))) return "UTF-16";
  if (begins("\xFE\xFF")) return "UTF-16";
  if (begins(std::string_view("\xFF\xFE\0\0", 4))) return "UTF-32";
  if (begins(std::string_view("\0\0\xFE\xFF", 4))) return "UTF-32";
  if (head.size() < 4) return "";
  const bool low = head[0] != 0 && head[1] == 0, high = head[0] == 0 && head[1] != 0;
  if (low && head[2] == 0 && head[3] == 0) return "UTF-32";
  if (low || high) return "UTF-16";
  return "";
}

}  // namespace

absl::StatusOr<FileKind> KindOf(const std::string& path, std::string_view head, bool is_packed) {
  const auto refuse = [&](const std::string& what, const std::string& remedy) {
    return absl::InvalidArgumentError(absl::StrCat(PathInWords(path), ": ", what, ": ", remedy));
  };
  const std::string wide = WideEncoding(head);
  if (!wide.empty()) return refuse(absl::StrCat("encoded as ", wide), "write it as UTF-8");
  if (head.starts_with("PAR1")) {
    if (!is_packed) return FileKind::kParquet;
    return refuse("a Parquet file in a gzip file", "unpack it (gunzip)");
  }
  const size_t first = std::min(head.find_first_not_of(" \t\r\n\xEF\xBB\xBF"), head.size());
  const bool json = first < head.size() && (head[first] == '{' || head[first] == '[');
  const std::string name =
      absl::AsciiStrToLower(path.substr(0, path.size() - (path.ends_with(".gz") ? 3 : 0)));
  for (const Kind& kind : kKinds) {
    const bool begins = !kind.begins.empty() && head.starts_with(kind.begins);
    // A name alone does not make JSON anything else.
    const bool named = !kind.ends.empty() && name.ends_with(kind.ends) && !json;
    if (!begins && !named) continue;
    if (*kind.pandas == 0) return refuse(kind.what, kind.remedy);
    return refuse(kind.what, absl::StrCat("write it ", kPandas, kind.pandas, kToJson));
  }
  if (json) return FileKind::kJson;
  if (name.ends_with(".csv")) return FileKind::kCommas;
  return name.ends_with(".tsv") ? FileKind::kTabs : FileKind::kJson;
}

}  // namespace fttrain
