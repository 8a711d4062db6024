#include "data/packing/token_index.h"

#include <cstring>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr size_t kBlock = size_t{1} << 20;              // so much goes back to the system at once
constexpr size_t kLongest = 3 * 10 + sizeof(uint32_t);  // of one entry
constexpr int kFlagBits = 2;

// Seven bits a byte, the lowest first; the highest bit says that more follow.
void Append(uint64_t number, std::string* out) {
  for (; number >= 0x80; number >>= 7) out->push_back(static_cast<char>(number | 0x80));
  out->push_back(static_cast<char>(number));
}

}  // namespace

// The row as what it is beyond the one before, with its flags: a row of several examples, and rows
// that follow each other, are small numbers.
void TokenIndex::Add(const TokenIndexEntry& entry) {
  FT_CHECK(entry.begin == last_.end() && entry.row >= last_.row && entry.targets <= entry.tokens,
           "example ", size_, " at ", entry.begin, " of row ", entry.row);
  if (blocks_.empty() || blocks_.back().size() + kLongest > kBlock) {
    blocks_.emplace_back().reserve(kBlock);
  }
  std::string& block = blocks_.back();
  Append((entry.row - last_.row) << kFlagBits | entry.flags, &block);
  Append(entry.tokens, &block);
  Append(entry.tokens - entry.targets, &block);
  block.append(reinterpret_cast<const char*>(&entry.check_sum), sizeof(entry.check_sum));
  last_ = entry;
  ++size_;
}

uint64_t TokenIndex::Reader::Number() {
  const std::string& block = index_.blocks_[block_];
  uint64_t number = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(block[at_++]);
    number |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return number;
  }
}

bool TokenIndex::Reader::Next(TokenIndexEntry* entry) {
  if (block_ < index_.blocks_.size() && at_ == index_.blocks_[block_].size()) {
    ++block_;
    at_ = 0;
  }
  if (block_ == index_.blocks_.size()) return false;
  const uint64_t row = Number();
  entry_.begin = entry_.end();
  entry_.row += row >> kFlagBits;
  entry_.flags = static_cast<uint32_t>(row & ((1u << kFlagBits) - 1));
  entry_.tokens = static_cast<uint32_t>(Number());
  entry_.targets = entry_.tokens - static_cast<uint32_t>(Number());
  std::memcpy(&entry_.check_sum, index_.blocks_[block_].data() + at_, sizeof(uint32_t));
  at_ += sizeof(uint32_t);
  *entry = entry_;
  return true;
}

}  // namespace fttrain
