#include "data/text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utf8.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "data/text/unicode16.h"

namespace fttrain {
namespace {

// Length of the longest well-formed or well-started sequence at `offset`, and whether it is
// complete (Unicode 15, table 3-7).
struct Scan {
  size_t length;
  bool complete;
};

Scan ScanUtf8(std::string_view text, size_t offset) {
  size_t end = offset;
  UChar32 c = 0;
  U8_NEXT(text.data(), end, text.size(), c);
  return {end - offset, c >= 0};
}

const icu::Normalizer2* IcuNormalizer(UnicodeForm form, UErrorCode* error) {
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool composed = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  return icu::Normalizer2::getInstance(nullptr, compatible ? "nfkc" : "nfc",
                                       composed ? UNORM2_COMPOSE : UNORM2_DECOMPOSE, *error);
}

struct ByteLevelMap {
  std::array<uint32_t, 256> character;
  std::array<int, 324> byte;  // of characters below U+0144
};

constexpr ByteLevelMap MakeByteLevelMap() {
  ByteLevelMap map{};
  for (int& b : map.byte) b = -1;
  uint32_t next = 256;
  for (int b = 0; b < 256; ++b) {
    const bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const uint32_t c = prints ? static_cast<uint32_t>(b) : next++;
    map.character[static_cast<size_t>(b)] = c;
    map.byte[c] = b;
  }
  return map;
}

constexpr ByteLevelMap kByteLevel = MakeByteLevelMap();

}  // namespace

size_t FindInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Scan scan = ScanUtf8(text, i);
    if (!scan.complete) return i;
    i += scan.length;
  }
  return std::string_view::npos;
}

uint32_t Utf8CodePoint(std::string_view text, size_t offset) {
  UChar32 c = 0;
  U8_NEXT_UNSAFE(text.data(), offset, c);
  return static_cast<uint32_t>(c);
}

void AppendUtf8(uint32_t c, std::string* out) {
  char bytes[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, c);
  out->append(bytes, length);
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Scan scan = ScanUtf8(text, i);
    if (scan.complete) {
      out.append(text.substr(i, scan.length));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    i += scan.length;
  }
  return out;
}

bool IsUnicodeSpace(uint32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE);
}

bool IsUnicodeNumeric(uint32_t c) {
  // Hugging Face's digits are those of Rust's Unicode 17; the tables here end earlier.
  const bool since_16 = (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_ND_MASK | U_GC_NL_MASK | U_GC_NO_MASK)) !=
             0 ||
         since_16 || HasCategorySince14(c, "N");
}

bool IsUnicodeWord(uint32_t c) {
  const UChar32 u = static_cast<UChar32>(c);
  return u_hasBinaryProperty(u, UCHAR_ALPHABETIC) || u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(u) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         HasCategorySince14(c, "L") || HasCategorySince14(c, "M") || HasCategorySince14(c, "Nd");
}

absl::StatusOr<std::string> NormalizeUnicode(UnicodeForm form, std::string_view text) {
  UErrorCode error = U_ZERO_ERROR;
  // Hugging Face's normalizer has the tables of Unicode 9: characters from later versions neither
  // combine nor reorder.
  static const icu::UnicodeSet* const kUnicode9 = [] {
    UErrorCode ignored = U_ZERO_ERROR;
    return (new icu::UnicodeSet(UNICODE_STRING_SIMPLE("[:Age=9.0:]"), ignored))->freeze();
  }();
  const icu::Normalizer2* all = IcuNormalizer(form, &error);
  std::string out;
  if (U_SUCCESS(error) && kUnicode9->isEmpty()) error = U_MISSING_RESOURCE_ERROR;
  if (U_SUCCESS(error)) {
    const icu::FilteredNormalizer2 normalizer(*all, *kUnicode9);
    icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
    normalizer.normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())),
                             sink, nullptr, error);
  }
  if (U_FAILURE(error)) {
    return absl::InternalError(absl::StrCat("Unicode normalization: ", u_errorName(error)));
  }
  return out;
}

uint32_t ByteLevelCharacter(unsigned char byte) { return kByteLevel.character[byte]; }

bool BytesOfByteLevelToken(std::string_view token, std::string* bytes) {
  bytes->clear();
  for (size_t i = 0; i < token.size(); i += Utf8Length(static_cast<unsigned char>(token[i]))) {
    const uint32_t c = Utf8CodePoint(token, i);
    if (c >= kByteLevel.byte.size() || kByteLevel.byte[c] < 0) return false;
    bytes->push_back(static_cast<char>(kByteLevel.byte[c]));
  }
  return true;
}

}  // namespace fttrain
