// A tokenizer.model made by hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

inline std::vector<int32_t> Ids(const Tokenizer& tokenizer, const std::string& text,
                                bool special = false) {
  return tokenizer.Encode(text, special).value();
}

}  // namespace fttrain
