#include "model/files/folder_writer.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/files/tensor_io.h"
#include "runtime/files/json.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

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
                                   "tekken.json",
                                   "chat_template.jinja",
                                   "chat_template.json"};

int64_t BytesOf(const SafetensorsWriter::Tensor& tensor) {
  int64_t bytes = DtypeBytes(tensor.dtype);
  for (const int64_t dim : tensor.shape) bytes *= dim;
  return bytes;
}

// Whether b is part of what a begins: "x.weight" and "x.weight.absmax".
bool BelongsTo(const std::string& a, const std::string& b) {
  return b.size() > a.size() && b.starts_with(a) && b[a.size()] == '.';
}

// Index of each shard's first tensor: a shard ends before the matrix that would make it exceed the
// limit.
std::vector<size_t> PlanShards(const std::vector<SafetensorsWriter::Tensor>& tensors,
                               int64_t max_shard_bytes) {
  std::vector<size_t> begins = {0};
  int64_t filled = 0;
  for (size_t i = 0; i < tensors.size();) {
    int64_t bytes = BytesOf(tensors[i]);
    size_t end = i + 1;
    while (end < tensors.size() && BelongsTo(tensors[i].name, tensors[end].name)) {
      bytes += BytesOf(tensors[end++]);
    }
    if (filled > 0 && filled + bytes > max_shard_bytes) {
      begins.push_back(i);
      filled = 0;
    }
    filled += bytes;
    i = end;
  }
  return begins;
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

absl::StatusOr<std::unique_ptr<FolderWriter>> FolderWriter::Create(
    const std::string& base_folder, const std::string& folder,
    std::vector<SafetensorsWriter::Tensor> tensors, const std::string& config_json,
    int64_t max_shard_bytes) {
  if (tensors.empty() || max_shard_bytes <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": a model folder needs tensors and a positive shard size"));
  }
  std::error_code error;
  if (fs::equivalent(base_folder, folder, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, " is the base model's folder, which would be overwritten"));
  }
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    return FileError(std::make_error_code(std::errc::file_exists), "create folder", folder);
  }
  std::unique_ptr<FolderWriter> writer(new FolderWriter());
  writer->folder_ = folder;
  // Files cannot be moved across file systems, and a folder that is there may be a mount or a link.
  // (A trailing slash would put the other temporary folder inside.)
  std::string stem = folder;
  while (stem.size() > 1 && stem.ends_with('/')) stem.pop_back();
  const bool is_there = fs::is_directory(folder, error);
  writer->temporary_folder_ = absl::StrCat(stem, is_there ? "/.tmp-" : ".tmp-", getpid());
  writer->shard_begins_ = PlanShards(tensors, max_shard_bytes);
  writer->tensors_ = std::move(tensors);
  writer->left_bytes_ = BytesOf(writer->tensors_[0]);
  for (const auto& tensor : writer->tensors_) writer->total_bytes_ += BytesOf(tensor);
  fs::remove_all(writer->temporary_folder_, error);
  fs::create_directories(writer->temporary_folder_, error);
  if (error) return FileError(error, "create folder", writer->temporary_folder_);
  FT_RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(writer->temporary_folder_, "/config.json"), config_json));
  FT_RETURN_IF_ERROR(writer->CopyBaseFiles(base_folder));
  FT_RETURN_IF_ERROR(writer->OpenShard());
  return writer;
}

FolderWriter::~FolderWriter() {
  writer_.reset();
  std::error_code ignored;
  fs::remove_all(temporary_folder_, ignored);
}

std::string FolderWriter::ShardName(size_t shard) const {
  if (shard_begins_.size() == 1) return "model.safetensors";
  return absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shard_begins_.size());
}

absl::Status FolderWriter::CopyBaseFiles(const std::string& base_folder) {
  for (const char* name : kCopied) {
    const absl::StatusOr<std::string> contents =
        ReadFileAsItIs(absl::StrCat(base_folder, "/", name));
    if (absl::IsNotFound(contents.status())) continue;
    if (!contents.ok()) return contents.status();
    FT_RETURN_IF_ERROR(PutFile(name, *contents));
  }
  return absl::OkStatus();
}

absl::Status FolderWriter::PutFile(const std::string& name, const std::string& contents) {
  return WriteFileAtomically(absl::StrCat(temporary_folder_, "/", name), contents);
}

absl::Status FolderWriter::OpenShard() {
  const size_t begin = shard_begins_[next_shard_];
  const size_t end =
      next_shard_ + 1 < shard_begins_.size() ? shard_begins_[next_shard_ + 1] : tensors_.size();
  const std::vector<SafetensorsWriter::Tensor> declared(tensors_.begin() + begin,
                                                        tensors_.begin() + end);
  FT_ASSIGN_OR_RETURN(writer_, SafetensorsWriter::Create(
                                   absl::StrCat(temporary_folder_, "/", ShardName(next_shard_)),
                                   declared, {{"format", "pt"}}));
  ++next_shard_;
  return absl::OkStatus();
}

absl::Status FolderWriter::Append(const void* data, int64_t size_bytes) {
  if (next_ == tensors_.size() || writer_ == nullptr || size_bytes > left_bytes_) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder_, ": ", size_bytes, " bytes more than tensor ",
        next_ == tensors_.size() ? std::string("list") : Printable(tensors_[next_].name), " has"));
  }
  FT_RETURN_IF_ERROR(writer_->Append(data, size_bytes));
  left_bytes_ -= size_bytes;
  written_bytes_ += size_bytes;
  // Tensors of no elements need no call.
  while (left_bytes_ == 0 && ++next_ < tensors_.size()) {
    left_bytes_ = BytesOf(tensors_[next_]);
    if (next_shard_ == shard_begins_.size() || next_ != shard_begins_[next_shard_]) continue;
    FT_RETURN_IF_ERROR(writer_->Finish());
    FT_RETURN_IF_ERROR(OpenShard());
  }
  return absl::OkStatus();
}

absl::Status FolderWriter::Append(const at::Tensor& value, at::ScalarType to) {
  return AppendTensor(
      value, to, [this](const void* data, int64_t size_bytes) { return Append(data, size_bytes); });
}

absl::Status FolderWriter::WriteIndex() {
  nlohmann::ordered_json weight_map = nlohmann::ordered_json::object();
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const auto after = std::upper_bound(shard_begins_.begin(), shard_begins_.end(), i);
    weight_map.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
        tensors_[i].name, ShardName(std::distance(shard_begins_.begin(), after) - 1));
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total_bytes_}}},
                                        {"weight_map", std::move(weight_map)}};
  return WriteFileAtomically(absl::StrCat(temporary_folder_, "/", kIndexFile),
                             index.dump(2) + "\n");
}

absl::Status FolderWriter::Finish() {
  if (next_ != tensors_.size() || writer_ == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(folder_, ": ", tensors_.size() - next_,
                                                      " of ", tensors_.size(),
                                                      " tensors were not given"));
  }
  FT_RETURN_IF_ERROR(writer_->Finish());
  writer_.reset();
  const bool single = shard_begins_.size() == 1;
  if (!single) FT_RETURN_IF_ERROR(WriteIndex());
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return FileError(error, "create folder", folder_);
  FT_RETURN_IF_ERROR(RemoveWeights(folder_));
  return MoveFiles(temporary_folder_, folder_, single ? "model.safetensors" : kIndexFile);
}

at::ScalarType DtypeInFolder(const TensorSpec& tensor, at::ScalarType folder) {
  const bool narrow = c10::elementSize(folder) < c10::elementSize(at::kFloat);
  return tensor.constant || (tensor.float32 && narrow) ? at::kFloat : folder;
}

absl::StatusOr<std::unique_ptr<FolderWriter>> CreateModelFolder(
    const std::string& base_folder, const std::string& folder,
    const std::vector<TensorSpec>& tensors, at::ScalarType dtype, int64_t max_shard_bytes) {
  if (!FloatDtypeOf(dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": an export needs a floating dtype"));
  }
  std::vector<SafetensorsWriter::Tensor> declared;
  for (const TensorSpec& tensor : tensors) {
    declared.push_back({tensor.name, *FloatDtypeOf(DtypeInFolder(tensor, dtype)), tensor.shape});
  }
  FT_ASSIGN_OR_RETURN(const std::string config, ConfigWith(base_folder, DtypeWord(dtype), ""));
  return FolderWriter::Create(base_folder, folder, std::move(declared), config, max_shard_bytes);
}

absl::StatusOr<std::string> ConfigWith(const std::string& folder, const std::string& dtype,
                                       const std::string& quantization) {
  const std::string path = absl::StrCat(folder, "/config.json");
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  FT_RETURN_IF_ERROR(ParseJsonObject(text, path).status());
  auto config = nlohmann::ordered_json::parse(text);  // keeps the order of keys
  if (!dtype.empty()) config[config.contains("dtype") ? "dtype" : "torch_dtype"] = dtype;
  config.erase("quantization_config");
  // Code and layers that are not in the folder.
  config.erase("auto_map");
  if (config.contains("num_nextn_predict_layers")) config["num_nextn_predict_layers"] = 0;
  if (!quantization.empty()) {
    config["quantization_config"] = nlohmann::ordered_json::parse(quantization);
  }
  return config.dump(2) + "\n";
}

}  // namespace fttrain
