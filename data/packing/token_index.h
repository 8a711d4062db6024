// Where examples lie in a file of tokens (token_file.h): an entry of its index, and the index while
// the file is written.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

namespace fttrain {

// As it stands in the file.
struct TokenIndexEntry {
  static constexpr uint32_t kOwnLabels = 1, kInBrackets = 2;  // flags

  uint64_t begin;  // byte of its first word
  uint64_t row;    // the N of "PATH:N" or, in brackets, "PATH[N]"
  uint32_t tokens, targets, check_sum, flags;

  uint64_t words() const { return uint64_t{tokens} * (flags & kOwnLabels ? 2 : 1); }
  uint64_t end() const { return begin + words() * sizeof(uint32_t); }
  bool operator==(const TokenIndexEntry&) const = default;
};

// Entries of examples that lie one behind the other: about 9 bytes each, not 32, for all of them
// are held until the last is known.
class TokenIndex {
 public:
  // Of the entries so far; `begin`: of the first.
  explicit TokenIndex(uint64_t begin) : first_{begin, 0, 0, 0, 0, 0}, last_(first_) {}

  // Its `begin` is where the entry before ends.
  void Add(const TokenIndexEntry& entry);
  uint64_t size() const { return size_; }

  // All of them, in order.
  class Reader {
   public:
    explicit Reader(const TokenIndex& index) : index_(index), entry_(index.first_) {}
    bool Next(TokenIndexEntry* entry);  // false behind the last

   private:
    uint64_t Number();
    const TokenIndex& index_;
    TokenIndexEntry entry_;  // the latest
    size_t block_ = 0, at_ = 0;
  };

 private:
  TokenIndexEntry first_, last_;  // the former is none: where the first begins
  std::deque<std::string> blocks_;
  uint64_t size_ = 0;
};

}  // namespace fttrain
