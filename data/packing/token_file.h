// Examples in a file of their own, to be read one by one from where they lie: what a dataset file's
// rows became.
//   "fttokens", a version (8 bytes)
//   words, uint32, example by example: an id each, its highest bit where the token is its own
//   label;
//     of examples with other labels the ids, then the labels
//   the index: an entry an example, where its words are, how many, which row it is of, their check
//   sum the report, the digest and the ids of all examples, as JSON the end: sizes and places of
//   these, and a SHA-256 of index and report
// A file that does not end so is none; words are checked when they are read.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/formats/dataset.h"
#include "data/packing/token_index.h"
#include "data/text/example_list.h"
#include "runtime/files/file_system.h"
#include "runtime/files/mapped_file.h"

namespace fttrain {

// Writes one, from its beginning to its end. Holds the index (token_index.h).
class TokenFileWriter : public ExampleSink {
 public:
  // `path` is new. `source`: the dataset's path as sources of its examples begin with it.
  static absl::StatusOr<std::unique_ptr<TokenFileWriter>> Create(FileSystem& files,
                                                                 const std::string& path,
                                                                 const std::string& source);
  ~TokenFileWriter() override;

  absl::Status Add(Example example) override;
  // All that is left of the file, on disk when this returns. `key` comes back with it.
  absl::Status Finish(const DatasetReport& report, const std::string& key);

 private:
  struct End;
  friend class TokenFile;

  TokenFileWriter(std::unique_ptr<NewFile> file, std::string source);
  absl::Status Append(const void* data, int64_t bytes);
  absl::Status Flush();

  std::unique_ptr<NewFile> file_;
  std::string source_, buffer_;
  TokenIndex index_;
  int64_t bytes_ = 0;  // that are appended
  ExampleDigest digest_;
  TokenUse use_;
};

// One that was written, mapped. Of its pages few stay in this process: it gives them back while it
// reads, to the system's cache of files.
class TokenFile : public ExampleStore {
 public:
  // `source` as above: what it is called now. NotFound; DataLoss, with what is wrong, for one that
  // is damaged or has another key. Reads the index, not the words.
  static absl::StatusOr<std::shared_ptr<const TokenFile>> Open(const std::string& path,
                                                               const std::string& source,
                                                               const std::string& key);

  int64_t size() const override { return count_; }
  // Throws std::runtime_error, with what to do, where the words are not those that were written.
  Example Get(int64_t i) const override;
  ExampleSize SizeOf(int64_t i) const override;
  std::string SourceOf(int64_t i) const override;
  bool BeginsRow(int64_t i) const override;
  std::string Digest() const override { return digest_; }
  const TokenUse& Use() const override { return use_; }

  const DatasetReport& report() const { return report_; }  // but path and why

 private:
  using Entry = TokenIndexEntry;

  TokenFile() = default;
  absl::Status Check(const std::string& key);
  absl::Status CheckIndex(uint64_t index_begin, const std::string& sha256);
  const Entry& At(int64_t i) const;
  void Release(int64_t bytes) const;

  std::string path_, source_, digest_;
  TokenUse use_;
  DatasetReport report_;
  std::shared_ptr<const MappedFile> file_;
  int64_t count_ = 0;
  const Entry* index_ = nullptr;
  mutable std::atomic<int64_t> touched_ = 0;
};

}  // namespace fttrain
