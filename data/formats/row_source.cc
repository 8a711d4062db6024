#include "data/formats/row_source.h"

#include <unistd.h>

#include "absl/strings/str_join.h"
#include "data/formats/json_rows.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct FileKind {
  const char* ending;
  absl::StatusOr<std::unique_ptr<RowSource>> (*open)(const std::string& path,
                                                     int64_t max_row_bytes);
};

constexpr FileKind kFileKinds[] = {{".jsonl", OpenJsonLines}, {".json", OpenJsonArray}};

// A pipe would be read by one rank and keep the others waiting.
absl::Status CheckRegularFile(const std::string& path) {
  int64_t size_bytes = 0;
  FT_ASSIGN_OR_RETURN(const int fd, OpenRegularFile(path, &size_bytes));
  close(fd);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(const std::string& path,
                                                    int64_t max_row_bytes) {
  for (const FileKind& kind : kFileKinds) {
    if (!path.ends_with(kind.ending)) continue;
    FT_RETURN_IF_ERROR(CheckRegularFile(path));
    return kind.open(path, max_row_bytes);
  }
  const auto ending = [](std::string* out, const FileKind& kind) { *out += kind.ending; };
  return absl::InvalidArgumentError(absl::StrCat(Printable(path), ": the name must end in ",
                                                 absl::StrJoin(kFileKinds, " or ", ending)));
}

}  // namespace fttrain
