#include "runtime/files/safetensors_header.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/files/json.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct DtypeRow {
  SafetensorsDtype dtype;
  const char* name;
  int64_t bytes;
};
constexpr DtypeRow kDtypes[] = {
    {SafetensorsDtype::kF64, "F64", 8}, {SafetensorsDtype::kF32, "F32", 4},
    {SafetensorsDtype::kF16, "F16", 2}, {SafetensorsDtype::kBF16, "BF16", 2},
    {SafetensorsDtype::kI64, "I64", 8}, {SafetensorsDtype::kI32, "I32", 4},
    {SafetensorsDtype::kI16, "I16", 2}, {SafetensorsDtype::kI8, "I8", 1},
    {SafetensorsDtype::kU8, "U8", 1},   {SafetensorsDtype::kBool, "BOOL", 1},
};

const DtypeRow& RowOf(SafetensorsDtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.dtype == dtype) return row;
  }
  CheckFailed(__FILE__, __LINE__, "known dtype", absl::StrCat(static_cast<int>(dtype)));
}

// Numbers in [0, 2^63 - 1), at most `most`: JsonNode::Int takes a larger one for 2^63 - 1.
absl::StatusOr<std::vector<int64_t>> Numbers(const JsonNode& list, size_t most) {
  FT_RETURN_IF_ERROR(list.IsArray());
  if (list.size() > most) return list.Error(absl::StrCat("more than ", most, " numbers"));
  std::vector<int64_t> numbers(list.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    FT_ASSIGN_OR_RETURN(numbers[i], list[i].Int(0, std::numeric_limits<int64_t>::max() - 1));
  }
  return numbers;
}

// {"dtype": text, "shape": [n...], "data_offsets": [begin, end]}; the offset is relative still.
absl::StatusOr<SafetensorsEntry> ParseEntry(const JsonNode& tensor) {
  FT_RETURN_IF_ERROR(tensor.IsObject());
  FT_ASSIGN_OR_RETURN(const std::string name, tensor["dtype"].String());
  const std::optional<SafetensorsDtype> dtype = DtypeOf(name);
  if (!dtype) return tensor["dtype"].Unsupported();
  FT_ASSIGN_OR_RETURN(std::vector<int64_t> shape, Numbers(tensor["shape"], kMaxRank));
  FT_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, Numbers(tensor["data_offsets"], 2));
  if (tensor.size() != 3 || offsets.size() != 2) {
    return tensor.Error("needs dtype, shape and two data_offsets, and nothing else");
  }
  const int64_t begin = offsets[0], end = offsets[1];
  const std::optional<int64_t> bytes = TensorBytes(*dtype, shape);
  const std::string text = absl::StrCat(name, " [", absl::StrJoin(shape, ", "), "]");
  if (!bytes) return tensor.Error(absl::StrCat(text, " exceeds 2^63 bytes"));
  if (end < begin || end - begin != *bytes) {
    return tensor.Error(absl::StrCat(text, " needs ", *bytes, " bytes, data_offsets [", begin, ", ",
                                     end, "] hold ", end - begin));
  }
  return SafetensorsEntry{*dtype, std::move(shape), begin, *bytes};
}

// {"__metadata__": {text: text}, tensor: entry}
absl::StatusOr<SafetensorsHeader> ParseEntries(const nlohmann::json& root,
                                               const std::string& path) {
  SafetensorsHeader header;
  if (root.size() > size_t{kMaxTensorsPerFile} + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": more than ", kMaxTensorsPerFile, " tensors"));
  }
  for (const auto& [name, value] : root.items()) {
    const JsonNode node(&value, absl::StrCat(path, ": tensor '", Printable(name), "'"));
    if (name.size() > kMaxNameBytes || name.find('\0') != std::string::npos) {
      return node.Error(absl::StrCat("longer than ", kMaxNameBytes, " bytes or holds a NUL"));
    }
    if (name != "__metadata__") {
      FT_ASSIGN_OR_RETURN(header.entries[name], ParseEntry(node));
      continue;
    }
    FT_RETURN_IF_ERROR(node.IsObject());
    for (const auto& [key, text] : value.items()) {
      FT_ASSIGN_OR_RETURN(
          header.metadata[key],
          JsonNode(&text, absl::StrCat(path, ": __metadata__ '", Printable(key), "'")).String());
    }
  }
  return header;
}

// Tensors must cover the data section: no byte twice, none unclaimed.
absl::Status CheckCover(const SafetensorsHeader& header, int64_t data_bytes,
                        const std::string& path) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : header.entries) order.emplace_back(&name, &entry);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->offset_bytes, a.second->size_bytes) <
           std::pair(b.second->offset_bytes, b.second->size_bytes);
  });
  int64_t covered = 0;
  for (const auto& [name, entry] : order) {
    const int64_t begin = entry->offset_bytes, end = begin + entry->size_bytes;
    const std::string where = absl::StrCat(path, ": tensor '", Printable(*name),
                                           "', data_offsets [", begin, ", ", end, "]: ");
    if (begin < covered) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, "overlaps a tensor ending at ", covered));
    }
    if (end > data_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, "ends past the file's ", data_bytes, " data bytes (truncated?)"));
    }
    if (begin > covered) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, "leaves a hole of ", begin - covered, " bytes after ", covered));
    }
    covered = end;
  }
  if (covered == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", data_bytes - covered, " trailing bytes after the last tensor"));
}

}  // namespace

int64_t DtypeBytes(SafetensorsDtype dtype) { return RowOf(dtype).bytes; }
std::string_view DtypeName(SafetensorsDtype dtype) { return RowOf(dtype).name; }

std::optional<SafetensorsDtype> DtypeOf(std::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<int64_t> TensorBytes(SafetensorsDtype dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = DtypeBytes(dtype);
  for (const int64_t dim : shape) {
    // Also with a dimension of 0 elsewhere: no shape whose other dimensions overflow is sane.
    if (dim < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(dim, 1), &bytes)) return {};
  }
  return std::find(shape.begin(), shape.end(), 0) == shape.end() ? bytes : 0;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json, int64_t data_start,
                                                         int64_t file_bytes,
                                                         const std::string& path) {
  // The format's text demands it, although its reference takes blanks there: a header that begins
  // otherwise was made by nobody's writer.
  if (!json.starts_with('{')) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the header does not begin with '{'"));
  }
  FT_ASSIGN_OR_RETURN(const nlohmann::json root, ParseJsonObject(json, path));
  FT_ASSIGN_OR_RETURN(SafetensorsHeader header, ParseEntries(root, path));
  FT_RETURN_IF_ERROR(CheckCover(header, file_bytes - data_start, path));
  for (auto& [name, entry] : header.entries) entry.offset_bytes += data_start;
  return header;
}

}  // namespace fttrain
