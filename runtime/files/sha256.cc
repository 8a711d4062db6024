#include "runtime/files/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
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

}  // namespace fttrain
