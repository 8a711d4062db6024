// A tokenizer.model made by hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

// A protobuf message, field by field.
inline std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
inline std::string Integer(int field, int64_t value) {
  return Varint(static_cast<uint64_t>(field) << 3) + Varint(static_cast<uint64_t>(value));
}
inline std::string Bytes(int field, const std::string& value) {
  return Varint(static_cast<uint64_t>(field) << 3 | 2) + Varint(value.size()) + value;
}
inline std::string Float(int field, float value) {
  return Varint(static_cast<uint64_t>(field) << 3 | 5) +
         std::string(reinterpret_cast<const char*>(&value), 4);
}

constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

struct SpmFile {
  std::string pieces, trainer = Integer(3, 2), normalizer = Integer(4, 0);
  SpmFile& Add(const std::string& text, float score, int type = kNormal) {
    pieces += Bytes(1, Bytes(1, text) + Float(2, score) + Integer(3, type));
    return *this;
  }
  std::string text() const { return pieces + Bytes(2, trainer) + Bytes(3, normalizer); }
};

inline constexpr char kSpace[] = "\xE2\x96\x81";

// 0 <unk>, 1 <s>, 2 </s>, 3 space, 4 a, 5 b, 6 ab, 7 space ab
inline SpmFile Small() {
  SpmFile file;
  file.Add("<unk>", 0, kUnknown).Add("<s>", 0, kControl).Add("</s>", 0, kControl);
  file.Add(kSpace, -4).Add("a", -5).Add("b", -6).Add("ab", -1).Add(std::string(kSpace) + "ab", -2);
  return file;
}

// Small() with byte pieces, as `model` (1: Unigram, 2: BPE), whose rules turn "a" into what stands
// at `value` of `results`.
inline std::string WithRule(int model, const std::string& results, uint32_t value) {
  std::vector<uint32_t> units(256);  // a double array: units[0] is the root, its children at 128
  units[0] = 128 << 10;
  units[128 ^ 'a'] = 64 << 10 | 1 << 8 | 'a';
  units[128 ^ 'a' ^ 64] = 1u << 31 | value;
  std::string map("\0\4\0\0", 4);
  for (const uint32_t unit : units) {
    for (const int shift : {0, 8, 16, 24}) map.push_back(static_cast<char>(unit >> shift));
  }
  SpmFile file = Small();
  for (int b = 0; b < 256; ++b) file.Add(absl::StrFormat("<0x%02X>", b), 0, kByte);
  file.trainer = Integer(3, model) + Integer(35, 1);
  file.normalizer = Integer(4, 0) + Bytes(2, map + results);
  return file.text();
}

inline std::vector<int32_t> Ids(const Tokenizer& tokenizer, const std::string& text,
                                bool special = false) {
  return tokenizer.Encode(text, special).value();
}

}  // namespace fttrain
