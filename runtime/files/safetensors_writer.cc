#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/safetensors.h"
#include "runtime/files/safetensors_header.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::StatusOr<std::string> SafetensorsPreamble(
    const std::vector<SafetensorsWriter::Tensor>& tensors,
    const std::map<std::string, std::string>& metadata, int64_t* data_bytes) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::set<std::string> names = {"__metadata__"};
  *data_bytes = 0;
  for (const SafetensorsWriter::Tensor& tensor : tensors) {
    const std::optional<int64_t> bytes = TensorBytes(tensor.dtype, tensor.shape);
    int64_t end = 0;
    if (!names.insert(tensor.name).second || !bytes || tensor.shape.size() > kMaxRank ||
        __builtin_add_overflow(*data_bytes, *bytes, &end)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor '", Printable(tensor.name), "' is declared twice or has an impossible shape"));
    }
    // A vector of pairs, not operator[]: that one searches linearly.
    header.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
        tensor.name, nlohmann::ordered_json{{"dtype", DtypeName(tensor.dtype)},
                                            {"shape", tensor.shape},
                                            {"data_offsets", {*data_bytes, end}}});
    *data_bytes = end;
  }
  try {
    std::string json = header.dump();
    json.append((8 - json.size() % 8) % 8, ' ');
    const uint64_t length = json.size();
    std::string preamble(sizeof(length), '\0');
    std::memcpy(preamble.data(), &length, sizeof(length));
    return preamble + json;
  } catch (const nlohmann::json::exception&) {
    return absl::InvalidArgumentError("tensor names and metadata must be UTF-8");
  }
}

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    const std::string& path, const std::vector<Tensor>& tensors,
    const std::map<std::string, std::string>& metadata) {
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter());
  FT_ASSIGN_OR_RETURN(const std::string preamble,
                      SafetensorsPreamble(tensors, metadata, &writer->remaining_bytes_));
  const int64_t preamble_bytes = static_cast<int64_t>(preamble.size());
  FT_RETURN_IF_ERROR(writer->file_.Open(path, preamble_bytes + writer->remaining_bytes_));
  FT_RETURN_IF_ERROR(writer->file_.Append(preamble.data(), preamble_bytes));
  return writer;
}

absl::Status SafetensorsWriter::Append(const void* data, int64_t size_bytes) {
  if (size_bytes < 0 || size_bytes > remaining_bytes_) {
    return absl::FailedPreconditionError(absl::StrCat(file_.path(), ": appending ", size_bytes,
                                                      " bytes where ", remaining_bytes_,
                                                      " of the declared ones remain"));
  }
  FT_RETURN_IF_ERROR(file_.Append(data, size_bytes));
  remaining_bytes_ -= size_bytes;
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (remaining_bytes_ != 0) {
    return absl::FailedPreconditionError(absl::StrCat(file_.path(), ": ", remaining_bytes_,
                                                      " of the declared bytes were not appended"));
  }
  return file_.Commit();
}

}  // namespace fttrain
