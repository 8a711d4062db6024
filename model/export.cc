#include "model/export.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "model/tensor_io.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include "runtime/strict_json.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;

constexpr char kIndexFile[] = "model.safetensors.index.json";

// Copied unchanged where the base has them.
constexpr const char* kCopied[] = {"generation_config.json",
                                   "tokenizer.json",
                                   "tokenizer_config.json",
                                   "special_tokens_map.json",
                                   "added_tokens.json",
                                   "vocab.json",
                                   "merges.txt",
                                   "tokenizer.model",
                                   "chat_template.jinja",
                                   "chat_template.json"};

int64_t BytesOf(const TensorSpec& tensor, at::ScalarType dtype) {
  int64_t bytes = static_cast<int64_t>(c10::elementSize(dtype));
  for (const int64_t dim : tensor.shape) bytes *= dim;
  return bytes;
}

// Index of each shard's first tensor: a shard ends before the tensor that would make it exceed the
// limit.
std::vector<size_t> PlanShards(const std::vector<TensorSpec>& tensors, at::ScalarType dtype,
                               int64_t max_shard_bytes) {
  std::vector<size_t> begins = {0};
  int64_t filled = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t bytes = BytesOf(tensors[i], dtype);
    if (filled > 0 && filled + bytes > max_shard_bytes) {
      begins.push_back(i);
      filled = 0;
    }
    filled += bytes;
  }
  return begins;
}

const char* DtypeText(at::ScalarType dtype) {
  switch (dtype) {
    case at::kDouble:
      return "float64";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    default:
      return "float32";
  }
}

absl::Status FileError(const std::error_code& error, std::string_view what, const fs::path& path) {
  return absl::ErrnoToStatus(error.value(),
                             absl::StrCat("cannot ", std::string(what), " ", path.string()));
}

// Weights and index of an export, ours or transformers'.
bool IsWeightsFile(const std::string& name) {
  return name == kIndexFile || name == "model.safetensors" ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

// Moves every file of `from` into `to`; `last` goes last, so that a folder with it is complete.
absl::Status MoveFiles(const fs::path& from, const fs::path& to, const std::string& last) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(from, error)) {
    names.push_back(item.path().filename().string());
  }
  if (error) return FileError(error, "list", from);
  std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return std::pair(a == last, a) < std::pair(b == last, b);
  });
  for (const std::string& name : names) {
    fs::rename(from / name, to / name, error);
    if (error) return FileError(error, "move into place", to / name);
  }
  return absl::OkStatus();
}

absl::Status RemoveWeights(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> old;
  for (const auto& item : fs::directory_iterator(folder, error)) {
    if (IsWeightsFile(item.path().filename().string())) old.push_back(item.path());
  }
  for (const fs::path& path : old) {
    if (!error) fs::remove(path, error);
  }
  return error ? FileError(error, "remove the old weights in", folder) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelExporter>> ModelExporter::Create(
    const std::string& base_folder, const std::string& folder, std::vector<TensorSpec> tensors,
    at::ScalarType dtype, int64_t max_shard_bytes) {
  if (!FloatDtypeOf(dtype) || tensors.empty() || max_shard_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder, ": an export needs tensors, a positive shard size and a floating dtype"));
  }
  std::error_code error;
  if (fs::equivalent(base_folder, folder, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " is the base model's folder, which an export would overwrite"));
  }
  std::unique_ptr<ModelExporter> exporter(new ModelExporter());
  exporter->folder_ = folder;
  // A trailing slash would put the temporary folder inside.
  std::string stem = folder;
  while (stem.size() > 1 && stem.ends_with('/')) stem.pop_back();
  exporter->temporary_folder_ = absl::StrCat(stem, ".tmp-", getpid());
  exporter->dtype_ = dtype;
  exporter->shard_begins_ = PlanShards(tensors, dtype, max_shard_bytes);
  exporter->tensors_ = std::move(tensors);
  fs::remove_all(exporter->temporary_folder_, error);
  for (const std::string& path : {folder, exporter->temporary_folder_}) {
    fs::create_directories(path, error);
    if (error) return FileError(error, "create folder", path);
  }
  FT_RETURN_IF_ERROR(exporter->CopyBaseFiles(base_folder));
  FT_RETURN_IF_ERROR(exporter->OpenShard());
  return exporter;
}

ModelExporter::~ModelExporter() {
  writer_.reset();
  std::error_code ignored;
  fs::remove_all(temporary_folder_, ignored);
}

std::string ModelExporter::ShardName(size_t shard) const {
  if (shard_begins_.size() == 1) return "model.safetensors";
  return absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shard_begins_.size());
}

absl::Status ModelExporter::CopyBaseFiles(const std::string& base_folder) {
  const std::string path = absl::StrCat(base_folder, "/config.json");
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  FT_RETURN_IF_ERROR(ParseJsonObject(text, path).status());
  auto config = nlohmann::ordered_json::parse(text);  // keeps the order of keys
  // transformers 5 writes "dtype", 4 "torch_dtype".
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = DtypeText(dtype_);
  FT_RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(temporary_folder_, "/config.json"), config.dump(2) + "\n"));
  for (const char* name : kCopied) {
    const absl::StatusOr<std::string> contents = ReadFile(absl::StrCat(base_folder, "/", name));
    if (absl::IsNotFound(contents.status())) continue;
    if (!contents.ok()) return contents.status();
    FT_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary_folder_, "/", name), *contents));
  }
  return absl::OkStatus();
}

absl::Status ModelExporter::OpenShard() {
  const size_t begin = shard_begins_[next_shard_];
  const size_t end =
      next_shard_ + 1 < shard_begins_.size() ? shard_begins_[next_shard_ + 1] : tensors_.size();
  std::vector<SafetensorsWriter::Tensor> declared;
  for (size_t i = begin; i < end; ++i) {
    declared.push_back({tensors_[i].name, *FloatDtypeOf(dtype_), tensors_[i].shape});
  }
  FT_ASSIGN_OR_RETURN(writer_, SafetensorsWriter::Create(
                                   absl::StrCat(temporary_folder_, "/", ShardName(next_shard_)),
                                   declared, {{"format", "pt"}}));
  ++next_shard_;
  return absl::OkStatus();
}

absl::Status ModelExporter::Append(std::string_view name, const at::Tensor& value) {
  const std::string what = Printable(name);
  if (next_ == tensors_.size() || writer_ == nullptr || tensors_[next_].name != name ||
      value.sizes() != at::IntArrayRef(tensors_[next_].shape)) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder_, ": got ", what, " [", absl::StrJoin(value.sizes(), ", "), "], expected ",
        next_ == tensors_.size() ? "no more tensors"
                                 : absl::StrCat(tensors_[next_].name, " [",
                                                absl::StrJoin(tensors_[next_].shape, ", "), "]")));
  }
  if (next_shard_ < shard_begins_.size() && next_ == shard_begins_[next_shard_]) {
    FT_RETURN_IF_ERROR(writer_->Finish());
    FT_RETURN_IF_ERROR(OpenShard());
  }
  FT_RETURN_IF_ERROR(AppendTensor(*writer_, value, dtype_));
  ++next_;
  return absl::OkStatus();
}

absl::Status ModelExporter::WriteIndex() {
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  int64_t total_bytes = 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto after = std::upper_bound(shard_begins_.begin(), shard_begins_.end(), i);
    weight_map.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
        tensors_[i].name, ShardName(std::distance(shard_begins_.begin(), after) - 1));
    total_bytes += BytesOf(tensors_[i], dtype_);
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_bytes}}},
                                        {"weight_map", std::move(weight_map)}};
  return WriteFileAtomically(absl::StrCat(temporary_folder_, "/", kIndexFile),
                             index.dump(2) + "\n");
}

absl::Status ModelExporter::Finish() {
  if (next_ != tensors_.size() || writer_ == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(folder_, ": ", tensors_.size() - next_,
                                                      " of ", tensors_.size(),
                                                      " tensors were not given"));
  }
  FT_RETURN_IF_ERROR(writer_->Finish());
  writer_.reset();
  const bool single = shard_begins_.size() == 1;
  if (!single) FT_RETURN_IF_ERROR(WriteIndex());
  FT_RETURN_IF_ERROR(RemoveWeights(folder_));
  return MoveFiles(temporary_folder_, folder_, single ? "model.safetensors" : kIndexFile);
}

}  // namespace fttrain
