#include "data/text/unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <cstring>

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

// How many bytes from the first on are ASCII, eight at a time: most text is.
size_t AsciiBytes(std::string_view text) {
  size_t i = 0;
  for (uint64_t eight; i + sizeof(eight) <= text.size(); i += sizeof(eight)) {
    std::memcpy(&eight, text.data() + i, sizeof(eight));
    if ((eight & 0x8080808080808080) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

const icu::Normalizer2* IcuNormalizer(UnicodeForm form, UErrorCode* error) {
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const bool composed = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  return icu::Normalizer2::getInstance(nullptr, compatible ? "nfkc" : "nfc",
                                       composed ? UNORM2_COMPOSE : UNORM2_DECOMPOSE, *error);
}

// Hugging Face's normalizer has the tables of Unicode 9: characters from later versions neither
// combine nor reorder.
const icu::UnicodeSet& Unicode9() {
  static const icu::UnicodeSet* const set = [] {
    UErrorCode ignored = U_ZERO_ERROR;
    return (new icu::UnicodeSet(UNICODE_STRING_SIMPLE("[:Age=9.0:]"), ignored))->freeze();
  }();
  return *set;
}

// ICU puts a mark into its place by going back over those behind it: the square of a run's length.
// Here long runs of marks are put in order first, with buckets, which no form tells from the text
// as it was; ICU then only ever appends.
class MarkSorter {
 public:
  // `decomposer` is that of the form: what is a mark once it is decomposed counts as one.
  MarkSorter(const icu::Normalizer2& decomposer, std::string_view text)
      : decomposer_(decomposer), text_(text) {}

  std::string Sorted() {
    std::string out;
    size_t done = 0;
    // A run that is long has a mark at one of these places, for a mark has at least two bytes.
    for (size_t at = 0; at < text_.size(); at = std::max(at, done) + 2 * kLongRun) {
      size_t begin = at;
      U8_SET_CP_START_UNSAFE(text_.data(), begin);
      size_t end = begin;
      while (end < text_.size() && IsMark(end)) end += Length(end);
      for (size_t before = begin; before > done; begin = before) {
        U8_BACK_1_UNSAFE(text_.data(), before);
        if (!IsMark(before)) break;
      }
      if (end - begin < 2 * kLongRun) continue;
      out.append(text_, done, begin - done);
      AppendSorted(begin, end, &out);
      done = end;
    }
    if (done == 0) return "";
    return out.append(text_, done);
  }

 private:
  static constexpr size_t kLongRun = 64;  // marks

  size_t Length(size_t at) const { return Utf8Length(static_cast<unsigned char>(text_[at])); }
  bool IsMark(size_t at) const {
    const UChar32 c = static_cast<UChar32>(Utf8CodePoint(text_, at));
    return !decomposer_.hasBoundaryBefore(c) && Unicode9().contains(c);
  }

  void AppendSorted(size_t begin, size_t end, std::string* out) const {
    std::array<std::string, 256> of_class;
    icu::UnicodeString parts;
    for (size_t at = begin; at < end; at += Length(at)) {
      const UChar32 c = static_cast<UChar32>(Utf8CodePoint(text_, at));
      if (!decomposer_.getDecomposition(c, parts)) parts = c;
      for (int32_t p = 0; p < parts.length(); p = parts.moveIndex32(p, 1)) {
        const UChar32 part = parts.char32At(p);
        AppendUtf8(static_cast<uint32_t>(part), &of_class[decomposer_.getCombiningClass(part)]);
      }
    }
    for (const std::string& marks : of_class) *out += marks;
  }

  const icu::Normalizer2& decomposer_;
  std::string_view text_;
};

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
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      i += AsciiBytes(text.substr(i));
      continue;
    }
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
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_WHITE_SPACE);
}

bool IsUnicodeNumeric(uint32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
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
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const icu::Normalizer2* all = IcuNormalizer(form, &error);
  const icu::Normalizer2* decomposer =
      IcuNormalizer(compatible ? UnicodeForm::kNfkd : UnicodeForm::kNfd, &error);
  std::string out;
  if (U_SUCCESS(error) && Unicode9().isEmpty()) error = U_MISSING_RESOURCE_ERROR;
  if (U_SUCCESS(error)) {
    const std::string sorted = MarkSorter(*decomposer, text).Sorted();
    if (!sorted.empty()) text = sorted;
    const icu::FilteredNormalizer2 normalizer(*all, Unicode9());
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
