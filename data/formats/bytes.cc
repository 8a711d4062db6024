#include "data/formats/bytes.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr size_t kBlockBytes = size_t{1} << 16;
constexpr std::string_view kGzipMagic = "\x1f\x8b";
constexpr int kGzipWindow = 15 + 16;  // zlib's largest window, in a gzip wrapper

class PlainBytes : public ByteStream {
 public:
  PlainBytes(int fd, const std::string& path) : fd_(fd), path_(path) {}
  ~PlainBytes() override { close(fd_); }
  PlainBytes(const PlainBytes&) = delete;
  PlainBytes& operator=(const PlainBytes&) = delete;

  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    for (;;) {
      const ssize_t got = read(fd_, to, size);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno == EINTR) continue;
      return absl::DataLossError(
          absl::StrCat(PathInWords(path_), ": cannot be read: ", strerror(errno)));
    }
  }

 private:
  int fd_;
  std::string path_;
};

// One gzip member behind the other, as `cat a.gz b.gz` and parallel compressors leave them.
class GzipBytes : public ByteStream {
 public:
  GzipBytes(std::unique_ptr<ByteStream> packed, const std::string& path)
      : packed_(std::move(packed)), path_(path), block_(kBlockBytes, '\0') {
    FT_CHECK(inflateInit2(&stream_, kGzipWindow) == Z_OK, "zlib cannot be started");
  }
  ~GzipBytes() override { inflateEnd(&stream_); }
  GzipBytes(const GzipBytes&) = delete;
  GzipBytes& operator=(const GzipBytes&) = delete;

  absl::StatusOr<size_t> Read(char* to, size_t size) override {
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(std::min(size, kBlockBytes));
    const uInt all = stream_.avail_out;
    while (stream_.avail_out == all) {
      if (stream_.avail_in == 0) FT_RETURN_IF_ERROR(Fill());
      if (stream_.avail_in == 0) {
        if (between_) return 0;
        return Error("the gzip data is cut off");
      }
      if (between_) {
        if (*stream_.next_in == 0) {  // padding to a block of some medium
          ++stream_.next_in;
          --stream_.avail_in;
          continue;
        }
        inflateReset(&stream_);
        between_ = false;
      }
      const int result = inflate(&stream_, Z_NO_FLUSH);
      between_ = result == Z_STREAM_END;
      if (result == Z_OK || between_ || result == Z_BUF_ERROR) continue;
      return Error(absl::StrCat("the gzip data is damaged (",
                                stream_.msg == nullptr ? "no dictionary" : stream_.msg, ")"));
    }
    return all - stream_.avail_out;
  }
  bool is_packed() const override { return true; }

 private:
  absl::Status Fill() {
    FT_ASSIGN_OR_RETURN(const size_t got, packed_->Read(block_.data(), block_.size()));
    stream_.next_in = reinterpret_cast<Bytef*>(block_.data());
    stream_.avail_in = static_cast<uInt>(got);
    return absl::OkStatus();
  }
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(
        absl::StrCat(PathInWords(path_), ": ", what, ": copy or download the file again"));
  }

  std::unique_ptr<ByteStream> packed_;
  std::string path_, block_;
  z_stream stream_ = {};
  bool between_ = false;  // behind a member's end
};

}  // namespace

std::string PathInWords(const std::string& path) {
  const bool plain = std::all_of(path.begin(), path.end(), [](char c) {
    return static_cast<unsigned char>(c) >= ' ' && c != '\x7f';
  });
  return plain ? path : Printable(path);
}

absl::StatusOr<std::unique_ptr<ByteStream>> OpenBytes(const std::string& path) {
  int64_t size_bytes = 0;
  FT_ASSIGN_OR_RETURN(const int fd, OpenRegularFile(path, &size_bytes));
  auto plain = std::make_unique<PlainBytes>(fd, path);
  char head[2] = {};
  const bool gzip =
      size_bytes >= 2 && ReadExactly(fd, head, 2, 0) && std::string_view(head, 2) == kGzipMagic;
  if (!gzip) return plain;
  return std::make_unique<GzipBytes>(std::move(plain), path);
}

ByteReader::ByteReader(std::unique_ptr<ByteStream> stream)
    : stream_(std::move(stream)), block_(kBlockBytes, '\0') {}

std::string_view ByteReader::Ahead() {
  if (!ahead_.empty() || ended_) return ahead_;
  const absl::StatusOr<size_t> got = stream_->Read(block_.data(), block_.size());
  status_ = got.status();
  ended_ = !got.ok() || *got == 0;
  if (!ended_) ahead_ = std::string_view(block_.data(), *got);
  return ahead_;
}

void ByteReader::Take(size_t count) {
  lines_ += std::count(ahead_.begin(), ahead_.begin() + static_cast<std::ptrdiff_t>(count), '\n');
  ahead_.remove_prefix(count);
}

}  // namespace fttrain
