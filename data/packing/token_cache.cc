#include "data/packing/token_cache.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/packing/file_digest.h"
#include "data/packing/token_file.h"
#include "runtime/files/file_lock.h"
#include "runtime/files/file_system.h"
#include "runtime/files/sha256.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

// Says what to do beside what the file system said.
absl::Status Unusable(const TokenCache& cache, const absl::Status& status) {
  return absl::Status(
      status.code(),
      absl::StrCat("the cache of tokens in ", Printable(cache.folder),
                   " cannot be written: ", std::string(status.message()),
                   "; data.cache_dir names another folder, or is none: all examples in memory"));
}

absl::Status MakeFolders(const TokenCache& cache) {
  std::error_code error;
  fs::create_directories(cache.folder, error);
  std::error_code ignored;  // digests are found out again
  if (!error) fs::create_directory(cache.folder + "/digests", ignored);
  if (!error) return absl::OkStatus();
  const std::string what = absl::StrCat("cannot make the folder: ", error.message());
  if (error == std::errc::permission_denied || error == std::errc::read_only_file_system) {
    return Unusable(cache, absl::PermissionDeniedError(what));
  }
  if (error == std::errc::no_space_on_device) {
    return Unusable(cache, absl::ResourceExhaustedError(what));
  }
  return Unusable(cache, absl::UnavailableError(what));
}

// Everything that decides what the rows become, but where the file is.
std::string KeyOf(const DatasetSpec& spec, const DatasetOptions& options, const TokenCache& cache,
                  const std::string& digest) {
  // The end of its name tells tables from JSON.
  const fs::path path(spec.path);
  const bool packed = path.extension() == ".gz";
  const std::string name =
      absl::StrCat((packed ? path.stem() : path).extension().string(), packed ? ".gz" : "");
  const std::string text =
      absl::StrCat("file ", digest, " ", name, "\ntexts ", cache.texts, "\nformat ",
                   static_cast<int>(spec.format), "\nfields ",
                   absl::StrJoin(spec.fields, ",", absl::PairFormatter("=")), "\nvocab_size ",
                   options.vocab_size, "\nmax_row_bytes ", options.max_row_bytes, "\nsequence_len ",
                   options.sequence_len, "\ntrain_on ", static_cast<int>(options.train_on),
                   "\nturns ", static_cast<int>(options.turns), "\non_bad_row ",
                   static_cast<int>(options.on_bad_row), "\nmost_rows ", options.most_rows);
  return Sha256Hex(text);
}

class Builder {
 public:
  Builder(const DatasetSpec& spec, const DatasetOptions& options, const TokenCache& cache)
      : spec_(spec), options_(options), cache_(cache), files_(RealFileSystem()) {}

  absl::StatusOr<CachedDataset> Load() {
    FT_RETURN_IF_ERROR(MakeFolders(cache_));
    FT_ASSIGN_OR_RETURN(const FileState before, StateOf(spec_.path));
    FT_ASSIGN_OR_RETURN(const std::string digest,
                        RememberedDigest(spec_.path, cache_.folder, options_.threads));
    key_ = KeyOf(spec_, options_, cache_, digest);
    path_ = absl::StrCat(cache_.folder, "/", key_.substr(0, 32), ".tokens");
    auto there = Open();
    if (there.ok()) return there;
    const auto say = [&] {
      Say(absl::StrCat("another process makes tokens of ", Printable(spec_.path), ": waiting"));
    };
    auto lock = FileLock::WaitFor(path_ + ".lock", say);
    if (!lock.ok()) return Unusable(cache_, lock.status());
    there = Open();
    if (there.ok()) return there;
    if (!absl::IsNotFound(there.status())) {
      Say(absl::StrCat(std::string(there.status().message()), ": it is made anew"));
    }
    // Alone, what a killed builder left is written over.
    const std::string part =
        (*lock)->holds() ? path_ + ".part" : absl::StrCat(path_, ".part-", HostAndProcess());
    const absl::Status built = Build(part, before);
    if (!built.ok()) {
      (void)files_.RemoveFile(part);
      return built;
    }
    return Open();
  }

 private:
  static std::string HostAndProcess() {
    char host[256] = {};
    if (gethostname(host, sizeof(host) - 1) != 0) host[0] = '\0';
    return absl::StrCat(host, "-", getpid());
  }
  void Say(const std::string& text) const {
    if (cache_.say) cache_.say(text);
  }

  absl::StatusOr<CachedDataset> Open() const {
    FT_ASSIGN_OR_RETURN(const auto file, TokenFile::Open(path_, spec_.path, key_));
    CachedDataset out{ExampleList(file), file->report()};
    out.report.path = spec_.path;
    return out;
  }

  absl::Status Build(const std::string& part, const FileState& before) {
    Say(absl::StrCat("making tokens of ", Printable(spec_.path), " (", before.bytes >> 20,
                     " MiB) in ", Printable(cache_.folder)));
    absl::Status status = files_.RemoveFile(part);
    if (!status.ok() && !absl::IsNotFound(status)) return Unusable(cache_, status);
    auto writer = TokenFileWriter::Create(files_, part, spec_.path);
    if (!writer.ok()) return Unusable(cache_, writer.status());
    // Errors of rows are the dataset's, those of writing the cache's.
    struct Noted : ExampleSink {
      absl::Status Add(Example example) override {
        written = writer->Add(std::move(example));
        return written;
      }
      TokenFileWriter* writer;
      absl::Status written;
    } sink;
    sink.writer = writer->get();
    const absl::StatusOr<DatasetReport> report = ReadDataset(spec_, options_, sink);
    if (!sink.written.ok()) return Unusable(cache_, sink.written);
    FT_RETURN_IF_ERROR(report.status());
    FT_ASSIGN_OR_RETURN(const FileState after, StateOf(spec_.path));
    if (after.text != before.text) {
      return absl::DataLossError(
          absl::StrCat(Printable(spec_.path), ": it changed while it was read: start again"));
    }
    status = (*writer)->Finish(*report, key_);
    if (status.ok()) status = files_.Replace(part, path_);
    if (status.ok()) status = files_.SyncFolder(cache_.folder);
    return status.ok() ? status : Unusable(cache_, status);
  }

  const DatasetSpec& spec_;
  const DatasetOptions& options_;
  const TokenCache& cache_;
  FileSystem& files_;
  std::string key_, path_;
};

}  // namespace

absl::StatusOr<CachedDataset> LoadCached(const DatasetSpec& spec, const DatasetOptions& options,
                                         const TokenCache& cache) {
  return Builder(spec, options, cache).Load();
}

absl::StatusOr<std::string> DigestOfProgram() {
  static const auto digest = new absl::StatusOr<std::string>(DigestOfFile("/proc/self/exe", 1));
  return *digest;
}

}  // namespace fttrain
