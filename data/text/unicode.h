// UTF-8 and the character properties that tokenizers ask for. Text is UTF-8 in std::string
// throughout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fttrain {

// Byte offset of the first ill-formed sequence (overlong forms and surrogates included), or npos.
size_t FindInvalidUtf8(std::string_view text);

// Length in bytes of the well-formed character that starts with `lead`.
inline size_t Utf8Length(unsigned char lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
// Of well-formed text.
inline bool IsOneCharacter(std::string_view text) {
  return !text.empty() && Utf8Length(static_cast<unsigned char>(text[0])) == text.size();
}
// The code point at `text[offset]`; the text is well formed.
uint32_t Utf8CodePoint(std::string_view text, size_t offset);
void AppendUtf8(uint32_t code_point, std::string* out);

// Each maximal ill-formed subpart becomes one U+FFFD (Unicode 15, section 3.9, as decoders on the
// web do).
std::string ReplaceInvalidUtf8(std::string_view text);

bool IsUnicodeSpace(uint32_t code_point);    // White_Space
bool IsUnicodeNumeric(uint32_t code_point);  // Nd, Nl, No
bool IsUnicodeWord(uint32_t code_point);     // Alphabetic, M, Nd, Pc, Join_Control

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
absl::StatusOr<std::string> NormalizeUnicode(UnicodeForm form, std::string_view text);

// The bijection of byte-level BPE between the 256 bytes and printable characters (GPT-2): bytes
// that print in Latin-1 stand for themselves, the rest for U+0100 and on.
uint32_t ByteLevelCharacter(unsigned char byte);
// All bytes of a token's spelling; false if a character stands for none.
bool BytesOfByteLevelToken(std::string_view token, std::string* bytes);

}  // namespace fttrain
