#include "data/packing/token_file.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/formats/bytes.h"
#include "data/packing/report_json.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"

namespace fttrain {

struct TokenFileWriter::End {
  uint64_t index_begin, count, report_begin, report_bytes, file_bytes;
  char sha256[64];  // of index and report
  char magic[8];
};

namespace {

constexpr char kMagic[9] = "fttokens";
constexpr uint64_t kVersion = 1;
constexpr uint64_t kHeaderBytes = 8 + sizeof(kVersion);
using Entry = TokenIndexEntry;
constexpr uint32_t kIsTarget = uint32_t{1} << 31;
constexpr size_t kBlock = size_t{1} << 20;
constexpr int64_t kMappedAtOnce = int64_t{64} << 10;
constexpr int64_t kKeptBytes = int64_t{64} << 20;  // of the mapping, in this process

uint32_t CheckSum(const void* words, uint64_t count) {
  return static_cast<uint32_t>(
      crc32_z(0, static_cast<const Bytef*>(words), count * sizeof(uint32_t)));
}

// Whether labels are the ids themselves, where there is one.
bool LabelsAreIds(const Example& example) {
  for (size_t i = 0; i < example.labels.size(); ++i) {
    if (example.input_ids[i] < 0) return false;
    if (example.labels[i] != kNoTarget && example.labels[i] != example.input_ids[i]) return false;
  }
  return true;
}

std::vector<uint32_t> WordsOf(const Example& example, bool own_labels) {
  std::vector<uint32_t> words;
  words.reserve(example.input_ids.size() * (own_labels ? 2 : 1));
  for (size_t i = 0; i < example.input_ids.size(); ++i) {
    const bool marked = !own_labels && example.labels[i] != kNoTarget;
    words.push_back(static_cast<uint32_t>(example.input_ids[i]) | (marked ? kIsTarget : 0));
  }
  for (size_t i = 0; own_labels && i < example.labels.size(); ++i) {
    words.push_back(static_cast<uint32_t>(example.labels[i]));
  }
  return words;
}

}  // namespace

TokenFileWriter::TokenFileWriter(std::unique_ptr<NewFile> file, std::string source)
    : file_(std::move(file)), source_(PathInWords(source)), index_(kHeaderBytes) {}

TokenFileWriter::~TokenFileWriter() = default;

absl::StatusOr<std::unique_ptr<TokenFileWriter>> TokenFileWriter::Create(
    FileSystem& files, const std::string& path, const std::string& source) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<NewFile> file, files.Create(path, 0));
  std::unique_ptr<TokenFileWriter> writer(new TokenFileWriter(std::move(file), source));
  FT_RETURN_IF_ERROR(writer->Append(kMagic, 8));
  FT_RETURN_IF_ERROR(writer->Append(&kVersion, sizeof(kVersion)));
  return writer;
}

absl::Status TokenFileWriter::Append(const void* data, int64_t bytes) {
  buffer_.append(static_cast<const char*>(data), static_cast<size_t>(bytes));
  bytes_ += bytes;
  return buffer_.size() >= kBlock ? Flush() : absl::OkStatus();
}

absl::Status TokenFileWriter::Flush() {
  FT_RETURN_IF_ERROR(file_->Append(buffer_.data(), static_cast<int64_t>(buffer_.size())));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status TokenFileWriter::Add(Example example) {
  FT_CHECK(example.labels.size() == example.input_ids.size(), example.source);
  const auto tokens = static_cast<int64_t>(example.input_ids.size());
  const bool own_labels = !LabelsAreIds(example);
  const std::vector<uint32_t> words = WordsOf(example, own_labels);
  Entry entry = {};
  entry.begin = static_cast<uint64_t>(bytes_);
  entry.tokens = static_cast<uint32_t>(tokens);
  entry.targets = static_cast<uint32_t>(CountTargets(example, tokens));
  entry.check_sum = CheckSum(words.data(), words.size());
  absl::string_view place = example.source;
  const bool begins = absl::ConsumePrefix(&place, source_);
  const bool brackets =
      begins && absl::ConsumePrefix(&place, "[") && absl::ConsumeSuffix(&place, "]");
  const bool is_place = begins && (brackets || absl::ConsumePrefix(&place, ":")) &&
                        absl::SimpleAtoi(place, &entry.row);
  FT_CHECK(is_place, "a row's place is ", example.source, " in ", source_);
  entry.flags = (own_labels ? Entry::kOwnLabels : 0) | (brackets ? Entry::kInBrackets : 0);
  index_.Add(entry);
  digest_.Add(example);
  use_.Add(example);
  return Append(words.data(), static_cast<int64_t>(words.size() * sizeof(uint32_t)));
}

absl::Status TokenFileWriter::Finish(const DatasetReport& report, const std::string& key) {
  while (bytes_ % alignof(Entry) != 0) FT_RETURN_IF_ERROR(Append("", 1));
  End end = {};
  end.index_begin = static_cast<uint64_t>(bytes_);
  end.count = index_.size();
  Sha256 hash;
  Entry entry;
  for (TokenIndex::Reader entries(index_); entries.Next(&entry);) {
    FT_RETURN_IF_ERROR(Append(&entry, sizeof(entry)));
    hash.Add(&entry, sizeof(entry));
  }
  end.report_begin = static_cast<uint64_t>(bytes_);
  const std::string text = ReportJson({report, digest_.Hex(), key, use_}, source_);
  end.report_bytes = text.size();
  FT_RETURN_IF_ERROR(Append(text.data(), static_cast<int64_t>(text.size())));
  hash.Add(text.data(), static_cast<int64_t>(text.size()));
  end.file_bytes = static_cast<uint64_t>(bytes_) + sizeof(End);
  const std::string hex = hash.Hex();
  std::memcpy(end.sha256, hex.data(), sizeof(end.sha256));
  std::memcpy(end.magic, kMagic, sizeof(end.magic));
  FT_RETURN_IF_ERROR(Append(&end, sizeof(end)));
  FT_RETURN_IF_ERROR(Flush());
  FT_RETURN_IF_ERROR(file_->Sync());
  return file_->Close();
}

absl::StatusOr<std::shared_ptr<const TokenFile>> TokenFile::Open(const std::string& path,
                                                                 const std::string& source,
                                                                 const std::string& key) {
  std::shared_ptr<TokenFile> file(new TokenFile());
  file->path_ = path;
  file->source_ = PathInWords(source);
  FT_ASSIGN_OR_RETURN(file->file_, MappedFile::Open(path));
  const absl::Status status = file->Check(key);
  if (!status.ok())
    return absl::DataLossError(absl::StrCat(path, ": ", std::string(status.message())));
  return std::shared_ptr<const TokenFile>(std::move(file));
}

absl::Status TokenFile::Check(const std::string& key) {
  using End = TokenFileWriter::End;
  const absl::Status damaged = absl::DataLossError("not a whole file of tokens");
  const char* const data = file_->data();
  const auto size = static_cast<uint64_t>(file_->size());
  if (size < kHeaderBytes + sizeof(End)) return damaged;
  uint64_t version = 0;
  std::memcpy(&version, data + 8, sizeof(version));
  End end;
  std::memcpy(&end, data + size - sizeof(End), sizeof(End));
  if (std::memcmp(data, kMagic, 8) != 0 || std::memcmp(end.magic, kMagic, 8) != 0 ||
      version != kVersion || end.file_bytes != size || end.count > size / sizeof(Entry) ||
      end.index_begin % alignof(Entry) != 0 || end.index_begin > size || end.report_begin > size ||
      end.index_begin + end.count * sizeof(Entry) != end.report_begin ||
      end.report_begin + end.report_bytes + sizeof(End) != size) {
    return damaged;
  }
  count_ = static_cast<int64_t>(end.count);
  index_ = reinterpret_cast<const Entry*>(data + end.index_begin);
  FT_RETURN_IF_ERROR(CheckIndex(end.index_begin, std::string(end.sha256, 64)));
  const std::string text(data + end.report_begin, end.report_bytes);
  absl::StatusOr<StoredReport> stored = ParseReportJson(text, source_);
  if (!stored.ok() || stored->key != key)
    return absl::DataLossError("its report is of another file");
  report_ = std::move(stored->report);
  digest_ = std::move(stored->digest);
  use_ = std::move(stored->use);
  file_->ReadInNoOrder(static_cast<int64_t>(end.index_begin));
  Release(kKeptBytes);
  return absl::OkStatus();
}

// Piece by piece, of which few stay.
absl::Status TokenFile::CheckIndex(uint64_t index_begin, const std::string& sha256) {
  constexpr int64_t kPiece = 1 << 16;
  Sha256 hash;
  bool is_inside = true;
  for (int64_t first = 0; first < count_; first += kPiece) {
    const int64_t last = std::min(count_, first + kPiece);
    hash.Add(index_ + first, (last - first) * static_cast<int64_t>(sizeof(Entry)));
    for (int64_t i = first; i < last; ++i) {
      is_inside &= index_[i].begin + index_[i].words() * sizeof(uint32_t) <= index_begin;
    }
    Release((last - first) * static_cast<int64_t>(sizeof(Entry)));
  }
  const char* const report = reinterpret_cast<const char*>(index_ + count_);
  const char* const end = file_->data() + file_->size() - sizeof(TokenFileWriter::End);
  hash.Add(report, end - report);
  if (hash.Hex() != sha256 || !is_inside) return absl::DataLossError("its index is damaged");
  return absl::OkStatus();
}

const TokenFile::Entry& TokenFile::At(int64_t i) const {
  FT_CHECK(i >= 0 && i < count_, "example ", i, " of ", count_);
  return index_[i];
}

// After so many bytes were read all pages go: they are a copy of what the system has of the file.
void TokenFile::Release(int64_t bytes) const {
  if ((touched_ += bytes) < kKeptBytes) return;
  touched_ = 0;
  file_->GivePagesBack();
}

Example TokenFile::Get(int64_t i) const {
  const Entry& entry = At(i);
  const auto* const words = reinterpret_cast<const uint32_t*>(file_->data() + entry.begin);
  if (CheckSum(words, entry.words()) != entry.check_sum) {
    throw std::runtime_error(absl::StrCat(path_, ": the tokens of ", SourceOf(i),
                                          " are damaged: remove this file, it is made again"));
  }
  Example example;
  example.source = SourceOf(i);
  example.input_ids.resize(entry.tokens);
  example.labels.resize(entry.tokens);
  const bool own_labels = entry.flags & Entry::kOwnLabels;
  for (size_t t = 0; t < entry.tokens; ++t) {
    const uint32_t word = words[t];
    const auto id = static_cast<int32_t>(own_labels ? word : word & ~kIsTarget);
    example.input_ids[t] = id;
    example.labels[t] = own_labels         ? static_cast<int32_t>(words[entry.tokens + t])
                        : word & kIsTarget ? id
                                           : kNoTarget;
  }
  // With a page that is read the system maps those around it: here and in the index.
  Release(static_cast<int64_t>(entry.words() * sizeof(uint32_t)) + 2 * kMappedAtOnce);
  return example;
}

ExampleSize TokenFile::SizeOf(int64_t i) const {
  const Entry& entry = At(i);
  const ExampleSize size{entry.tokens, entry.tokens, entry.targets};
  Release(sizeof(Entry));
  return size;
}

bool TokenFile::BeginsRow(int64_t i) const {
  const bool begins = At(i).row != At(i - 1).row;
  Release(sizeof(Entry));
  return begins;
}

std::string TokenFile::SourceOf(int64_t i) const {
  const Entry& entry = At(i);
  return entry.flags & Entry::kInBrackets ? absl::StrCat(source_, "[", entry.row, "]")
                                          : absl::StrCat(source_, ":", entry.row);
}

}  // namespace fttrain
