#include "launch/checkpoint/shard.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/checkpoint/manifest_checks.h"
#include "runtime/files/safetensors_header.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Small enough that what was hashed is still in the cache when it is written.
constexpr int64_t kPieceBytes = 1 << 20;

// A file of the checkpoint being written, hashed on its way.
class HashedFile {
 public:
  static absl::StatusOr<HashedFile> Create(FileSystem& files, const std::string& folder,
                                           const std::string& name, int64_t size_bytes) {
    HashedFile file;
    file.about_.name = name;
    file.about_.bytes = size_bytes;
    file.folder_ = folder;
    FT_ASSIGN_OR_RETURN(file.file_, files.Create(file.path(), size_bytes));
    return file;
  }

  absl::Status Append(const void* data, int64_t size_bytes) {
    const char* bytes = static_cast<const char*>(data);
    for (int64_t at = 0; at < size_bytes; at += kPieceBytes) {
      const int64_t now = std::min(size_bytes - at, kPieceBytes);
      hash_->Add(bytes + at, now);
      FT_RETURN_IF_ERROR(file_->Append(bytes + at, now));
    }
    return absl::OkStatus();
  }

  // The file lasts, under its name, when this returns.
  absl::StatusOr<ManifestFile> Finish(FileSystem& files, const ShardWriting& how) {
    FT_RETURN_IF_ERROR(file_->Sync());
    FT_RETURN_IF_ERROR(file_->Close());
    about_.sha256 = hash_->Hex();
    about_.host = how.host;
    if (how.read_back) {
      FT_ASSIGN_OR_RETURN(const std::string read, Sha256OfFile(files, path(), about_.bytes));
      if (read != about_.sha256) {
        return absl::DataLossError(absl::StrCat(path(), ": what was read back is not what was ",
                                                "written; the disk or its memory is faulty"));
      }
    }
    FT_RETURN_IF_ERROR(files.SyncFolder(folder_));
    return about_;
  }

 private:
  std::string path() const { return absl::StrCat(folder_, "/", about_.name); }

  ManifestFile about_;
  std::string folder_;
  std::unique_ptr<NewFile> file_;
  std::unique_ptr<Sha256> hash_ = std::make_unique<Sha256>();
};

int64_t BytesOf(const ManifestTensor& tensor) {
  return tensor.numel * ManifestDtypeBytes(tensor.dtype);
}

// Larger values first, so that each tensor is aligned to its own.
std::vector<size_t> FileOrder(absl::Span<const ShardTensor> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return ManifestDtypeBytes(tensors[a].about.dtype) > ManifestDtypeBytes(tensors[b].about.dtype);
  });
  return order;
}

absl::StatusOr<std::vector<SafetensorsWriter::Tensor>> Declarations(
    absl::Span<const ShardTensor> tensors, const std::vector<size_t>& order) {
  std::vector<SafetensorsWriter::Tensor> declared;
  for (const size_t i : order) {
    const ManifestTensor& about = tensors[i].about;
    FT_RETURN_IF_ERROR(CheckTensor(about, absl::StrCat("tensor ", Printable(about.name))));
    declared.push_back(
        {absl::StrCat(about.name, "|", about.kind, "|", about.offset, "|", about.begin),
         *DtypeOf(about.dtype),
         {about.numel}});
  }
  return declared;
}

}  // namespace

absl::StatusOr<WrittenShard> WriteShard(FileSystem& files, const std::string& staging_path,
                                        int rank, absl::Span<const ShardTensor> tensors,
                                        const ShardWriting& how) {
  const std::vector<size_t> order = FileOrder(tensors);
  FT_ASSIGN_OR_RETURN(const auto declared, Declarations(tensors, order));
  int64_t data_bytes = 0;
  FT_ASSIGN_OR_RETURN(const std::string preamble, SafetensorsPreamble(declared, {}, &data_bytes));
  const std::string name = absl::StrFormat("shard-r%04d.safetensors", rank);
  int64_t at = static_cast<int64_t>(preamble.size());
  FT_ASSIGN_OR_RETURN(HashedFile file,
                      HashedFile::Create(files, staging_path, name, at + data_bytes));
  FT_RETURN_IF_ERROR(file.Append(preamble.data(), at));
  WrittenShard written;
  written.tensors.resize(tensors.size());
  for (const size_t i : order) {
    const int64_t bytes = BytesOf(tensors[i].about);
    FT_RETURN_IF_ERROR(file.Append(tensors[i].data, bytes));
    written.tensors[i] = tensors[i].about;
    written.tensors[i].file = name;
    written.tensors[i].data_begin = at;
    written.tensors[i].data_end = at += bytes;
  }
  FT_ASSIGN_OR_RETURN(written.file, file.Finish(files, how));
  return written;
}

absl::StatusOr<ManifestFile> WriteExtraFile(FileSystem& files, const std::string& staging_path,
                                            const std::string& name, const std::string& contents,
                                            const ShardWriting& how) {
  if (!IsPlainName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat(staging_path, ": '", Printable(name), "' is no plain file name"));
  }
  const int64_t bytes = static_cast<int64_t>(contents.size());
  FT_ASSIGN_OR_RETURN(HashedFile file, HashedFile::Create(files, staging_path, name, bytes));
  FT_RETURN_IF_ERROR(file.Append(contents.data(), bytes));
  return file.Finish(files, how);
}

}  // namespace fttrain
