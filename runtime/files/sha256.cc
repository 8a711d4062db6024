#include "runtime/files/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "runtime/files/file_system.h"
#include "runtime/process/check.h"

namespace fttrain {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

// Only a lack of memory, or a library without SHA-256, makes these calls fail.
Sha256::Sha256() : context_(std::make_unique<Context>()) {
  FT_CHECK(context_->evp != nullptr && EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1,
           "libcrypto has no SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::Add(const void* data, int64_t size_bytes) {
  FT_CHECK(EVP_DigestUpdate(context_->evp, data, static_cast<size_t>(size_bytes)) == 1,
           "SHA-256 of ", size_bytes, " bytes");
}

std::string Sha256::Hex() {
  std::string bytes(32, '\0');
  unsigned int length = 0;
  FT_CHECK(EVP_DigestFinal_ex(context_->evp, reinterpret_cast<unsigned char*>(bytes.data()),
                              &length) == 1 &&
               length == bytes.size(),
           "SHA-256 of ", length, " bytes");
  return absl::BytesToHexString(bytes);
}

std::string Sha256Hex(std::string_view bytes) {
  Sha256 hash;
  hash.Add(bytes.data(), static_cast<int64_t>(bytes.size()));
  return hash.Hex();
}

absl::StatusOr<std::string> Sha256OfFile(FileSystem& files, const std::string& path,
                                         int64_t size_bytes) {
  FT_ASSIGN_OR_RETURN(const int64_t there, files.Size(path));
  if (there != size_bytes) {
    return absl::DataLossError(absl::StrCat(path, ": has ", there, " bytes, not ", size_bytes));
  }
  constexpr int64_t kPieceBytes = 4 << 20;
  std::vector<char> piece(static_cast<size_t>(std::min(size_bytes, kPieceBytes)));
  Sha256 hash;
  for (int64_t at = 0; at < size_bytes; at += kPieceBytes) {
    const int64_t now = std::min(size_bytes - at, kPieceBytes);
    FT_RETURN_IF_ERROR(files.ReadAt(path, at, piece.data(), now));
    hash.Add(piece.data(), now);
  }
  return hash.Hex();
}

}  // namespace fttrain
