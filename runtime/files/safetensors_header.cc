#include "runtime/files/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/files/strict_sax.h"
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

// One tensor's description while it is being read.
struct Description {
  std::optional<SafetensorsDtype> dtype;
  std::optional<std::vector<int64_t>> shape, offsets;
};

// {"__metadata__": {text: text}, tensor: {"dtype": text, "shape": [n...], "data_offsets": [begin,
// end]}}
class HeaderSax : public StrictSax {
 public:
  explicit HeaderSax(SafetensorsHeader* header) : header_(header) {}

  bool start_object(size_t) override {
    switch (in_) {
      case In::kFile:
        in_ = In::kRoot;
        return true;
      case In::kValue:
        in_ = name_ == "__metadata__" ? In::kMetadata : In::kTensor;
        tensor_ = {};
        return true;
      default:
        return Refuse("an object");
    }
  }

  bool key(string_t& name) override {
    if (name.size() > kMaxNameBytes || name.find('\0') != std::string::npos) {
      return Fail(absl::StrCat("name '", Printable(name), "' is longer than ", kMaxNameBytes,
                               " bytes or holds a NUL"));
    }
    switch (in_) {
      case In::kRoot:
        return StartEntry(name);
      case In::kMetadata:
        key_ = name;
        if (header_->metadata.contains(name)) return Refuse("second '" + Printable(name) + "'");
        return true;
      case In::kTensor:
        return StartField(name);
      default:
        return Refuse("a key");
    }
  }

  bool string(string_t& value) override {
    if (in_ == In::kMetadata) {
      header_->metadata[key_] = value;
      return true;
    }
    if (in_ != In::kTensor || key_ != "dtype") return Refuse("a string");
    for (const DtypeRow& row : kDtypes) {
      if (value == row.name) tensor_.dtype = row.dtype;
    }
    return tensor_.dtype ||
           Fail(absl::StrCat(Where(), ": dtype '", Printable(value), "' is not supported"));
  }

  bool start_array(size_t) override {
    if (in_ != In::kTensor || key_ == "dtype") return Refuse("an array");
    in_ = In::kNumbers;
    (key_ == "shape" ? tensor_.shape : tensor_.offsets).emplace();
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (in_ != In::kNumbers) return Refuse("a number");
    std::vector<int64_t>& numbers = key_ == "shape" ? *tensor_.shape : *tensor_.offsets;
    const size_t most = key_ == "shape" ? kMaxRank : 2;
    if (numbers.size() == most)
      return Fail(absl::StrCat(Where(), ": more than ", most, " numbers"));
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Refuse(absl::StrCat("number ", value));
    }
    numbers.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool number_integer(number_integer_t value) override {
    if (value == 0 && in_ == In::kNumbers) return number_unsigned(0);  // "-0"
    return Refuse(absl::StrCat("number ", value));
  }

  bool number_float(number_float_t, const string_t& text) override {
    return Refuse(absl::StrCat("number ", Printable(text)));
  }

  bool end_array() override {
    in_ = In::kTensor;
    return true;
  }

  bool end_object() override {
    if (in_ == In::kTensor && !Store()) return false;
    in_ = in_ == In::kRoot ? In::kFile : In::kRoot;
    return true;
  }

 protected:
  std::string Where() const override {
    switch (in_) {
      case In::kFile:
      case In::kRoot:
        return "header";
      case In::kMetadata:
        return "__metadata__";
      case In::kTensor:
      case In::kNumbers:
        return absl::StrCat("tensor '", Printable(name_), "'", key_.empty() ? "" : ", ",
                            Printable(key_));
      case In::kValue:
        return absl::StrCat("entry '", Printable(name_), "'");
    }
    return "";
  }

 private:
  enum class In { kFile, kRoot, kValue, kMetadata, kTensor, kNumbers };

  bool StartEntry(const std::string& name) {
    const bool twice = name == "__metadata__" ? has_metadata_ : header_->entries.contains(name);
    if (twice) return Refuse("second '" + Printable(name) + "'");
    has_metadata_ |= name == "__metadata__";
    if (header_->entries.size() >= kMaxTensorsPerFile) {
      return Fail(absl::StrCat("more than ", kMaxTensorsPerFile, " tensors"));
    }
    name_ = name;
    key_.clear();
    in_ = In::kValue;
    return true;
  }

  bool StartField(std::string& name) {
    const bool twice = (name == "dtype" && tensor_.dtype) || (name == "shape" && tensor_.shape) ||
                       (name == "data_offsets" && tensor_.offsets);
    if (twice) return Refuse("second '" + name + "'");
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      key_.clear();
      return StrictSax::key(name);
    }
    key_ = name;
    return true;
  }

  bool Store() {
    key_.clear();
    if (!tensor_.dtype || !tensor_.shape || !tensor_.offsets || tensor_.offsets->size() != 2) {
      return Fail(absl::StrCat(Where(), ": needs dtype, shape and two data_offsets"));
    }
    const int64_t begin = tensor_.offsets->at(0), end = tensor_.offsets->at(1);
    const std::optional<int64_t> bytes = TensorBytes(*tensor_.dtype, *tensor_.shape);
    const std::string text = absl::StrCat(DtypeName(*tensor_.dtype).data(), " [",
                                          absl::StrJoin(*tensor_.shape, ", "), "]");
    if (!bytes) return Fail(absl::StrCat(Where(), ": ", text, " exceeds 2^63 bytes"));
    if (end < begin || end - begin != *bytes) {
      return Fail(absl::StrCat(Where(), ": ", text, " needs ", *bytes, " bytes, data_offsets [",
                               begin, ", ", end, "] hold ", end - begin));
    }
    header_->entries[name_] = {*tensor_.dtype, std::move(*tensor_.shape), begin, *bytes};
    return true;
  }

  SafetensorsHeader* header_;
  In in_ = In::kFile;
  bool has_metadata_ = false;
  std::string name_, key_;
  Description tensor_;
};

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
  if (!json.starts_with('{')) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the header does not begin with '{'"));
  }
  SafetensorsHeader header;
  FT_RETURN_IF_ERROR(HeaderSax(&header).Parse(json, path));
  FT_RETURN_IF_ERROR(CheckCover(header, file_bytes - data_start, path));
  for (auto& [name, entry] : header.entries) entry.offset_bytes += data_start;
  return header;
}

}  // namespace fttrain
