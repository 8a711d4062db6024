#include "data/packing/packed_rows.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/file_lock.h"
#include "runtime/files/mapped_file.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr size_t kHash = 64;

struct Head {
  char magic[8];
  uint64_t version, summary_bytes, rows, examples;
  char key[kHash];
};
constexpr char kMagic[9] = "ftrows\0\0";
constexpr uint64_t kVersion = 1;
constexpr size_t kBeforeRows = sizeof(Head) + sizeof(DatasetSummary);

Head HeadOf(const std::string& key, uint64_t rows, uint64_t examples) {
  Head head = {};
  std::memcpy(head.magic, kMagic, sizeof(head.magic));
  head.version = kVersion;
  head.summary_bytes = sizeof(DatasetSummary);
  head.rows = rows;
  head.examples = examples;
  std::memcpy(head.key, key.data(), kHash);
  return head;
}

int64_t BytesOf(absl::Span<const ExampleIndex> span) {
  return static_cast<int64_t>(span.size() * sizeof(ExampleIndex));
}

}  // namespace

PackedRows::PackedRows(DatasetSummary summary, EpochRows rows) : summary_(summary) {
  const auto kept = std::make_shared<const EpochRows>(std::move(rows));
  begin_ = kept->begin;
  examples_ = kept->examples;
  memory_ = kept;
}

absl::Span<const ExampleIndex> PackedRows::operator[](int64_t r) const {
  FT_CHECK(r >= 0 && r < size(), "row ", r, " of ", size());
  const ExampleIndex begin = begin_[static_cast<size_t>(r)];
  return examples_.subspan(begin, begin_[static_cast<size_t>(r) + 1] - begin);
}

absl::StatusOr<PackedRows> KeptRows::Get(int64_t epoch, const Pack& pack) const {
  if (folder_.empty()) return pack();
  const std::string path = absl::StrCat(folder_, "/", key_.substr(0, 32), "-", epoch, ".rows");
  auto there = Open(path);
  if (there.ok()) return there;
  const auto lock = FileLock::WaitFor(path + ".lock", nullptr);
  if (lock.ok()) {
    there = Open(path);
    if (there.ok()) return there;
  }
  FT_ASSIGN_OR_RETURN(PackedRows packed, pack());
  if (!lock.ok() || !(*lock)->holds()) return packed;
  // Alone, what a killed process left is written over. Mapped, the ranks of a host share it.
  FileSystem& files = RealFileSystem();
  const std::string part = path + ".part";
  (void)files.RemoveFile(part);
  absl::Status status = Write(files, part, packed);
  if (status.ok()) status = files.Replace(part, path);
  if (status.ok()) there = Open(path);
  if (!status.ok()) (void)files.RemoveFile(part);
  return there.ok() ? there : packed;
}

absl::StatusOr<PackedRows> KeptRows::Open(const std::string& path) const {
  FT_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  const absl::Status damaged = absl::DataLossError("no rows of this key");
  const auto size = static_cast<size_t>(file->size());
  if (size < kBeforeRows + kHash) return damaged;
  const char* const bytes = file->data();
  Head head;
  std::memcpy(&head, bytes, sizeof(head));
  const size_t most = size / sizeof(ExampleIndex);
  const Head want = HeadOf(key_, head.rows, head.examples);
  if (std::memcmp(&head, &want, sizeof(head)) != 0 || head.rows > most || head.examples > most) {
    return damaged;
  }
  const size_t hashed = kBeforeRows + (head.rows + 1 + head.examples) * sizeof(ExampleIndex);
  if (size != hashed + kHash ||
      Sha256Hex({bytes, hashed}) != std::string(bytes + hashed, kHash)) {
    return damaged;
  }
  // What was read to be hashed is read again, where it is needed, a row at a time.
  file->GivePagesBack();
  PackedRows rows;
  std::memcpy(&rows.summary_, bytes + sizeof(Head), sizeof(DatasetSummary));
  const auto* const words = reinterpret_cast<const ExampleIndex*>(bytes + kBeforeRows);
  rows.begin_ = {words, head.rows + 1};
  rows.examples_ = {words + head.rows + 1, head.examples};
  rows.memory_ = file;
  return rows;
}

absl::Status KeptRows::Write(FileSystem& files, const std::string& path,
                             const PackedRows& rows) const {
  const Head head = HeadOf(key_, static_cast<uint64_t>(rows.size()), rows.examples_.size());
  const int64_t bytes =
      static_cast<int64_t>(kBeforeRows + kHash) + BytesOf(rows.begin_) + BytesOf(rows.examples_);
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<NewFile> file, files.Create(path, bytes));
  Sha256 hash;
  const auto append = [&](const void* data, int64_t size) {
    hash.Add(data, size);
    return file->Append(data, size);
  };
  FT_RETURN_IF_ERROR(append(&head, sizeof(head)));
  FT_RETURN_IF_ERROR(append(&rows.summary_, sizeof(rows.summary_)));
  FT_RETURN_IF_ERROR(append(rows.begin_.data(), BytesOf(rows.begin_)));
  FT_RETURN_IF_ERROR(append(rows.examples_.data(), BytesOf(rows.examples_)));
  const std::string hex = hash.Hex();
  FT_RETURN_IF_ERROR(file->Append(hex.data(), static_cast<int64_t>(hex.size())));
  FT_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

}  // namespace fttrain
