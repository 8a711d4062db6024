#include "data/text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <array>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

// Length of the longest well-formed or well-started sequence at `offset`, and whether it is
// complete (Unicode 15, table 3-7).
struct Scan {
  size_t length;
  bool complete;
};

Scan ScanUtf8(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) -> int {
    return offset + i < text.size() ? static_cast<unsigned char>(text[offset + i]) : -1;
  };
  const int lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const size_t want = Utf8Length(static_cast<unsigned char>(lead));
  int low = 0x80, high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < want; ++i) {
    if (byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {want, true};
}

const icu::Normalizer2* IcuNormalizer(UnicodeForm form, UErrorCode* error) {
  switch (form) {
    case UnicodeForm::kNfc:
      return icu::Normalizer2::getNFCInstance(*error);
    case UnicodeForm::kNfd:
      return icu::Normalizer2::getNFDInstance(*error);
    case UnicodeForm::kNfkc:
      return icu::Normalizer2::getNFKCInstance(*error);
    case UnicodeForm::kNfkd:
      return icu::Normalizer2::getNFKDInstance(*error);
  }
  return nullptr;
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
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(text[offset + i]));
  };
  const uint32_t lead = byte(0);
  switch (Utf8Length(static_cast<unsigned char>(lead))) {
    case 1:
      return lead;
    case 2:
      return (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default:
      return (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
             (byte(3) & 0x3F);
  }
}

void AppendUtf8(uint32_t c, std::string* out) {
  const auto put = [&](uint32_t b) { out->push_back(static_cast<char>(b)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
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
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_ND_MASK | U_GC_NL_MASK | U_GC_NO_MASK)) !=
         0;
}

bool IsUnicodeWord(uint32_t c) {
  const UChar32 u = static_cast<UChar32>(c);
  return u_hasBinaryProperty(u, UCHAR_ALPHABETIC) || u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) ||
         (U_GET_GC_MASK(u) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
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
