#include "data/formats/row_source.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/formats/bytes.h"
#include "data/formats/csv_rows.h"
#include "data/formats/first_bytes.h"
#include "data/formats/json_rows.h"
#include "data/formats/json_scan.h"
#include "data/formats/parquet_rows.h"
#include "data/formats/row_json.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::StatusOr<ByteReader> Open(const std::string& path) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<ByteStream> stream, OpenBytes(path));
  return ByteReader(std::move(stream));
}

struct Shape {
  enum { kLines, kArray, kWrapped, kCommas, kTabs, kParquet } kind = kLines;
  std::string list;                 // of kWrapped: the rows' key
  std::vector<std::string> beside;  // the other keys
};

absl::StatusOr<Shape> Wrapped(const std::string& path, const FirstObject& object,
                              const std::vector<std::string>& row_keys) {
  Shape shape;
  std::vector<std::string> lists;
  for (const Member& member : object.members) {
    if (std::find(row_keys.begin(), row_keys.end(), member.key) != row_keys.end()) return shape;
    (member.rows ? lists : shape.beside).push_back(member.key);
  }
  if (lists.empty()) return shape;
  if (lists.size() > 1) {
    const std::string names = absl::StrJoin(
        lists, ", ", [](std::string* out, const std::string& list) { *out += Quoted(list); });
    return absl::InvalidArgumentError(
        absl::StrCat(PathInWords(path), ": an object with several lists of rows: ", names,
                     ": write the one to train on to a file of its own"));
  }
  shape.kind = Shape::kWrapped;
  shape.list = lists[0];
  return shape;
}

absl::StatusOr<Shape> ShapeOf(const std::string& path, const std::vector<std::string>& row_keys) {
  FT_ASSIGN_OR_RETURN(ByteReader in, Open(path));
  FT_ASSIGN_OR_RETURN(const FileKind kind,
                      KindOf(path, in.Ahead().substr(0, kFirstBytes), in.is_packed()));
  if (kind == FileKind::kParquet) return Shape{Shape::kParquet, "", {}};
  if (kind == FileKind::kCommas) return Shape{Shape::kCommas, "", {}};
  if (kind == FileKind::kTabs) return Shape{Shape::kTabs, "", {}};
  SkipSpace(&in);
  const bool array = in.Peek() == '[';
  FT_RETURN_IF_ERROR(in.status());
  if (array) return Shape{Shape::kArray, "", {}};
  const std::optional<FirstObject> object = ScanFirstObject(&in);
  if (!object.has_value()) return Shape();
  if (object->alone) {
    FT_ASSIGN_OR_RETURN(Shape shape, Wrapped(path, *object, row_keys));
    if (shape.kind == Shape::kWrapped) return shape;
  }
  if (object->lines == 0) return Shape();
  return absl::InvalidArgumentError(
      absl::StrCat(PathInWords(path), ": its first object goes over ", object->lines + 1,
                   " lines: write one object a line (jq -c . FILE), or an array of them"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> OpenRows(const std::string& path, int64_t max_row_bytes,
                                                    const std::vector<std::string>& row_keys) {
  FT_ASSIGN_OR_RETURN(const Shape shape, ShapeOf(path, row_keys));
  if (shape.kind == Shape::kParquet) return OpenParquet(path, max_row_bytes);
  FT_ASSIGN_OR_RETURN(ByteReader in, Open(path));
  if (shape.kind == Shape::kCommas) return OpenCsv(std::move(in), path, max_row_bytes, ',');
  if (shape.kind == Shape::kTabs) return OpenCsv(std::move(in), path, max_row_bytes, '\t');
  if (shape.kind == Shape::kLines) return OpenJsonLines(std::move(in), path, max_row_bytes);
  if (shape.kind == Shape::kArray) return OpenJsonArray(std::move(in), path, max_row_bytes);
  return OpenWrappedArray(std::move(in), path, max_row_bytes, shape.list, shape.beside);
}

}  // namespace fttrain
