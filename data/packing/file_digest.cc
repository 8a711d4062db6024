#include "data/packing/file_digest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/formats/for_each_index.h"
#include "runtime/files/file_error.h"
#include "runtime/files/file_lock.h"
#include "runtime/files/sha256.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kBlock = int64_t{16} << 20;
constexpr int64_t kPiece = int64_t{1} << 20;
constexpr int64_t kTickNanoseconds = 2'000'000'000;

absl::StatusOr<std::string> DigestOfBlock(int descriptor, int64_t begin, int64_t end,
                                          const std::string& path) {
  Sha256 hash;
  std::string piece(static_cast<size_t>(std::min(kPiece, end - begin)), '\0');
  for (int64_t at = begin; at < end;) {
    const int64_t bytes = std::min(kPiece, end - at);
    errno = 0;
    if (!ReadExactly(descriptor, piece.data(), bytes, at)) {
      if (errno != 0) return FailedRead(errno, "read", path);
      return absl::DataLossError(absl::StrCat(path, ": it became shorter while it was read"));
    }
    hash.Add(piece.data(), bytes);
    at += bytes;
  }
  return hash.Hex();
}

int64_t NanosecondsOf(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

bool IsDigest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

absl::StatusOr<FileState> StateOf(const std::string& path) {
  struct stat state;
  if (stat(path.c_str(), &state) != 0) return FailedRead(errno, "open", path);
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  FileState out;
  out.bytes = state.st_size;
  out.changed_nanoseconds = std::max(NanosecondsOf(state.st_mtim), NanosecondsOf(state.st_ctim));
  out.text = absl::StrCat(error ? path : real.string(), "\n", state.st_dev, " ", state.st_ino, " ",
                          state.st_size, " ", NanosecondsOf(state.st_mtim), " ",
                          NanosecondsOf(state.st_ctim));
  return out;
}

absl::StatusOr<std::string> DigestOfFile(const std::string& path, int threads) {
  int64_t bytes = 0;
  FT_ASSIGN_OR_RETURN(const int descriptor, OpenRegularFile(path, &bytes));
  std::vector<std::string> digests(static_cast<size_t>((bytes + kBlock - 1) / kBlock));
  std::mutex mutex;
  absl::Status failed;
  ForEachIndex(digests.size(), threads, [&](size_t i) {
    const int64_t begin = static_cast<int64_t>(i) * kBlock;
    auto digest = DigestOfBlock(descriptor, begin, std::min(bytes, begin + kBlock), path);
    if (digest.ok()) {
      digests[i] = *std::move(digest);
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    failed = digest.status();
  });
  close(descriptor);
  FT_RETURN_IF_ERROR(failed);
  Sha256 all;
  all.Add(&bytes, sizeof(bytes));
  for (const std::string& digest : digests) {
    all.Add(digest.data(), static_cast<int64_t>(digest.size()));
  }
  return all.Hex();
}

absl::StatusOr<std::string> RememberedDigest(const std::string& path, const std::string& folder,
                                             int threads) {
  FT_ASSIGN_OR_RETURN(const FileState state, StateOf(path));
  const std::string kept = absl::StrCat(folder, "/digests/", Sha256Hex(state.text).substr(0, 32));
  const auto remembered = [&]() -> std::string {
    const absl::StatusOr<std::string> text = ReadFile(kept, 1024);
    return text.ok() && IsDigest(*text) ? *text : "";
  };
  if (std::string digest = remembered(); !digest.empty()) return digest;
  // A folder that is read only has files of tokens all the same: what cannot be kept is not.
  const auto lock = FileLock::WaitFor(kept + ".lock", nullptr);
  if (std::string digest = remembered(); !digest.empty()) return digest;
  const int64_t begun = Now();
  FT_ASSIGN_OR_RETURN(const std::string digest, DigestOfFile(path, threads));
  FT_ASSIGN_OR_RETURN(const FileState after, StateOf(path));
  if (after.text != state.text) {
    return absl::DataLossError(absl::StrCat(path, ": it changed while it was read: start again"));
  }
  if (state.changed_nanoseconds + kTickNanoseconds < begun) {
    WriteFileAtomically(kept, digest).IgnoreError();
  }
  return digest;
}

absl::StatusOr<std::string> DigestOfTokenizerFiles(const std::string& folder) {
  constexpr absl::string_view kOthers[] = {".safetensors", ".bin", ".gguf",      ".pt", ".pth",
                                           ".md",          ".h5",  ".msgpack",   ".ot", ".ckpt",
                                           ".onnx",        ".npz", ".index.json"};
  std::map<std::string, std::string> digests;  // by name in the folder
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error);
  for (; at != fs::recursive_directory_iterator(); at.increment(error)) {
    const fs::directory_entry& entry = *at;
    if (entry.path().filename().string()[0] == '.') {  // of tools, such as a repository's
      if (at->is_directory(error)) at.disable_recursion_pending();
      continue;
    }
    const std::string name = fs::relative(entry.path(), folder, error).string();
    const bool other =
        std::any_of(std::begin(kOthers), std::end(kOthers),
                    [&](absl::string_view end) { return absl::EndsWith(name, end); });
    if (other || !entry.is_regular_file(error)) continue;
    FT_ASSIGN_OR_RETURN(digests[name], DigestOfFile(entry.path().string(), 1));
  }
  Sha256 all;
  for (const auto& [name, digest] : digests) {
    const std::string line = absl::StrCat(name, "\n", digest, "\n");
    all.Add(line.data(), static_cast<int64_t>(line.size()));
  }
  return all.Hex();
}

}  // namespace fttrain
