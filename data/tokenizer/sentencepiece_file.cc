#include "data/tokenizer/sentencepiece_file.h"

#include <cmath>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/text/unicode.h"
#include "data/tokenizer/vocabulary.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// The fields of one protobuf message, one after the other
// (protobuf.dev/programming-guides/encoding).
class Fields {
 public:
  explicit Fields(std::string_view bytes) : bytes_(bytes) {}

  // False at the end, and where the bytes are no message; ok() tells the two apart.
  bool Next() {
    if (at_ == bytes_.size() || !ok_) return false;
    uint64_t key = 0;
    ok_ =
        Varint(&key) && key >> 3 != 0 && key >> 3 <= INT32_MAX && Value(static_cast<int>(key & 7));
    number_ = static_cast<int>(key >> 3);
    return ok_;
  }
  bool ok() const { return ok_; }
  int number() const { return number_; }
  std::string_view text() const { return text_; }
  int64_t integer() const { return static_cast<int64_t>(integer_); }
  float real() const {
    float value = 0;
    const uint32_t bits = static_cast<uint32_t>(integer_);
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }

 private:
  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && at_ < bytes_.size(); shift += 7) {
      const unsigned char byte = static_cast<unsigned char>(bytes_[at_++]);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Fixed(size_t size) {
    if (bytes_.size() - at_ < size) return false;
    integer_ = 0;
    for (size_t i = 0; i < size; ++i) {
      integer_ |= static_cast<uint64_t>(static_cast<unsigned char>(bytes_[at_ + i])) << (8 * i);
    }
    at_ += size;
    return true;
  }
  bool Value(int wire) {
    text_ = {};
    integer_ = 0;
    if (wire == 0) return Varint(&integer_);
    if (wire == 1) return Fixed(8);
    if (wire == 5) return Fixed(4);
    uint64_t size = 0;
    if (wire != 2 || !Varint(&size) || size > bytes_.size() - at_) return false;
    text_ = bytes_.substr(at_, static_cast<size_t>(size));
    at_ += static_cast<size_t>(size);
    return true;
  }

  std::string_view bytes_, text_;
  size_t at_ = 0;
  bool ok_ = true;
  int number_ = 0;
  uint64_t integer_ = 0;
};

bool ReadPiece(std::string_view bytes, SentencePieceFile* file) {
  SentencePieceFile::Entry piece;
  Fields f(bytes);
  while (f.Next()) {
    if (f.number() == 1) piece.text = std::string(f.text());
    if (f.number() == 2) piece.score = f.real();
    if (f.number() == 3) piece.type = static_cast<int>(f.integer());
  }
  file->pieces.push_back(std::move(piece));
  return f.ok();
}

bool ReadTrainer(std::string_view bytes, SentencePieceFile* file) {
  Fields f(bytes);
  while (f.Next()) {
    if (f.number() == 3) file->model = static_cast<int>(f.integer());
    if (f.number() == 24) file->space_as_suffix = f.integer() != 0;
    if (f.number() == 35) file->byte_fallback = f.integer() != 0;
    if (f.number() == 41) file->bos = static_cast<int>(f.integer());
    if (f.number() == 42) file->eos = static_cast<int>(f.integer());
  }
  return f.ok();
}

bool ReadNormalizer(std::string_view bytes, SentencePieceFile* file) {
  Fields f(bytes);
  while (f.Next()) {
    if (f.number() == 2) file->charsmap = std::string(f.text());
    if (f.number() == 3) file->dummy_prefix = f.integer() != 0;
    if (f.number() == 4) file->remove_extra_spaces = f.integer() != 0;
    if (f.number() == 5) file->escape_spaces = f.integer() != 0;
  }
  return f.ok();
}

bool HasCharsmap(std::string_view bytes) {
  Fields f(bytes);
  while (f.Next()) {
    if (f.number() == 2 && !f.text().empty()) return true;
  }
  return false;
}

absl::Status CheckPieces(SentencePieceFile* file) {
  const auto error = [](size_t id, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("piece ", id, ": ", what));
  };
  absl::flat_hash_set<std::string> seen, bytes;
  for (size_t i = 0; i < file->pieces.size(); ++i) {
    const SentencePieceFile::Entry& piece = file->pieces[i];
    if (piece.text.empty()) return error(i, "it is empty");
    if (piece.text.size() > kMaxTokenBytes) {
      return error(i, absl::StrCat("it is longer than ", kMaxTokenBytes, " bytes"));
    }
    if (FindInvalidUtf8(piece.text) != std::string_view::npos) return error(i, "it is not UTF-8");
    if (!seen.insert(piece.text).second) {
      return error(i, absl::StrCat("'", Printable(piece.text), "' stands twice"));
    }
    if (!std::isfinite(piece.score)) return error(i, "its score is no number");
    if (piece.type < SentencePieceFile::kNormal || piece.type > SentencePieceFile::kByte) {
      return error(i, absl::StrCat("type ", piece.type, " is not known"));
    }
    if (piece.type == SentencePieceFile::kUnused && file->model == SentencePieceFile::kBpe) {
      return error(i, "type UNUSED is not supported in a BPE model");
    }
    if (piece.type == SentencePieceFile::kByte) bytes.insert(piece.text);
    if (piece.type != SentencePieceFile::kUnknown) continue;
    if (file->unk >= 0) return error(i, "a second unknown piece");
    file->unk = static_cast<int>(i);
  }
  if (file->byte_fallback) {
    for (int b = 0; b < 256; ++b) {
      const std::string text = absl::StrFormat("<0x%02X>", b);
      if (!bytes.contains(text))
        return absl::InvalidArgumentError("byte piece " + text + " is missing");
    }
  } else if (!bytes.empty()) {
    return absl::InvalidArgumentError("it has byte pieces, but byte_fallback is off");
  } else if (file->unk < 0) {
    return absl::InvalidArgumentError("it has no unknown piece");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SentencePieceFile> SentencePieceFile::Parse(std::string_view bytes,
                                                           const std::string& name) {
  SentencePieceFile file;
  bool ok = true, denormalizes = false;
  Fields f(bytes);
  while (ok && f.Next()) {
    if (f.number() == 1) ok = ReadPiece(f.text(), &file);
    if (f.number() == 2) ok = ReadTrainer(f.text(), &file);
    if (f.number() == 3) ok = ReadNormalizer(f.text(), &file);
    if (f.number() == 5) denormalizes = HasCharsmap(f.text());
  }
  const auto error = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", what));
  };
  if (!ok || !f.ok() || file.pieces.empty()) return error("this is no sentencepiece model");
  if (file.model != kUnigram && file.model != kBpe) {
    return error(absl::StrCat("sentencepiece model type ",
                              file.model == kWord   ? "WORD"
                              : file.model == kChar ? "CHAR"
                                                    : std::to_string(file.model),
                              " is not supported (BPE and UNIGRAM are)"));
  }
  if (denormalizes) return error("a denormalizer is not supported");
  const absl::Status pieces = CheckPieces(&file);
  if (!pieces.ok()) return error(pieces.message());
  const auto has = [&](int id) { return id >= 0 && static_cast<size_t>(id) < file.pieces.size(); };
  if (!has(file.bos)) file.bos = -1;
  if (!has(file.eos)) file.eos = -1;
  return file;
}

}  // namespace fttrain
