#include "data/tokenizer/sentencepiece_normalizer.h"

#include <cstring>

#include "data/text/unicode.h"
#include "data/tokenizer/text_limit.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

uint32_t ReadWord(std::string_view bytes, size_t at) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; ++i) {
    word |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return word;
}

// A unit of the double array: a byte, whether a value follows, where its children are.
uint32_t ByteOf(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
bool HasValue(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t OffsetOf(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }
uint32_t ValueOf(uint32_t unit) { return unit & ~(1u << 31); }
bool IsLeaf(uint32_t unit) { return unit >> 31 != 0; }

// Every rule's result begins inside `results` and at a character.
bool ValuesFit(const std::vector<uint32_t>& rules, std::string_view results) {
  for (size_t i = 0; i < rules.size(); ++i) {
    const size_t leaf = i ^ OffsetOf(rules[i]);
    if (IsLeaf(rules[i]) || !HasValue(rules[i]) || leaf >= rules.size()) continue;
    const uint32_t value = ValueOf(rules[leaf]);
    if (value >= results.size() || (static_cast<unsigned char>(results[value]) & 0xC0) == 0x80) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::StatusOr<SentencePieceNormalizer> SentencePieceNormalizer::Create(
    const SentencePieceFile& file) {
  if (file.space_as_suffix) {
    return absl::InvalidArgumentError("treat_whitespace_as_suffix is not supported");
  }
  SentencePieceNormalizer normalizer;
  normalizer.dummy_prefix_ = file.dummy_prefix;
  normalizer.remove_extra_spaces_ = file.remove_extra_spaces;
  normalizer.space_ = file.escape_spaces ? "\xE2\x96\x81" : " ";
  std::vector<std::pair<std::string, int32_t>> kept;
  for (const SentencePieceFile::Entry& piece : file.pieces) {
    if (piece.type == SentencePieceFile::kUserDefined) kept.emplace_back(piece.text, 0);
  }
  normalizer.kept_ = PieceTrie(std::move(kept));
  const std::string_view map = file.charsmap;
  if (map.empty()) return normalizer;
  // The table's bytes, the table, the results.
  const size_t size = map.size() > 4 ? ReadWord(map, 0) : 0;
  if (size < 1024 || size % 1024 != 0 || size >= map.size() - 4) {
    return absl::InvalidArgumentError("precompiled_charsmap is broken");
  }
  for (size_t i = 0; i < size; i += 4) normalizer.rules_.push_back(ReadWord(map, 4 + i));
  normalizer.results_ = std::string(map.substr(4 + size));
  if (normalizer.results_.back() != '\0' ||
      FindInvalidUtf8(normalizer.results_) != std::string_view::npos ||
      !ValuesFit(normalizer.rules_, normalizer.results_)) {
    return absl::InvalidArgumentError("precompiled_charsmap is broken");
  }
  return normalizer;
}

std::pair<std::string_view, size_t> SentencePieceNormalizer::First(std::string_view text) const {
  const PieceTrie::Match kept = kept_.LongestAt(text, 0);
  if (kept.length > 0) return {text.substr(0, kept.length), kept.length};
  size_t length = 0;
  uint32_t value = 0;
  if (!rules_.empty()) {
    uint32_t node = OffsetOf(rules_[0]);
    for (size_t i = 0; i < text.size(); ++i) {
      const unsigned char byte = static_cast<unsigned char>(text[i]);
      node ^= byte;
      if (node >= rules_.size() || ByteOf(rules_[node]) != byte) break;
      const uint32_t unit = rules_[node];
      node ^= OffsetOf(unit);
      if (!HasValue(unit)) continue;
      if (node >= rules_.size()) break;
      length = i + 1;
      value = ValueOf(rules_[node]);
    }
  }
  if (length > 0) return {results_.data() + value, length};
  length = Utf8Length(static_cast<unsigned char>(text[0]));
  return {text.substr(0, length), length};
}

absl::StatusOr<std::string> SentencePieceNormalizer::Apply(std::string_view text,
                                                           bool prefix) const {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  if (remove_extra_spaces_) {
    while (!text.empty()) {
      const auto [result, length] = First(text);
      if (result != " ") break;
      text.remove_prefix(length);
    }
  }
  if (text.empty()) return out;
  if (prefix && dummy_prefix_) out += space_;
  bool after_space = remove_extra_spaces_;
  while (!text.empty()) {
    auto [result, length] = First(text);
    while (after_space && result.starts_with(' ')) result.remove_prefix(1);
    FT_RETURN_IF_ERROR(CheckNormalizedBytes(out.size(), space_.size(), result.size()));
    for (const char c : result) {
      if (c == ' ') {
        out += space_;
      } else {
        out.push_back(c);
      }
    }
    if (!result.empty()) after_space = remove_extra_spaces_ && result.back() == ' ';
    text.remove_prefix(length);
  }
  while (remove_extra_spaces_ && out.ends_with(space_)) out.resize(out.size() - space_.size());
  return out;
}

}  // namespace fttrain
