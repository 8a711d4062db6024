// What cuts a word into tokens: BpeModel or UnigramModel.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "data/tokenizer/vocabulary.h"

namespace fttrain {

// A token and how many bytes of the word it covers.
struct Piece {
  int32_t id;
  uint32_t bytes;
};

// Words that were met before; forgets all when full.
class PieceCache {
 public:
  // Appends the word's pieces; false if it is not known.
  bool Find(std::string_view word, std::vector<Piece>* out) const;
  // Of a word that is not known.
  void Insert(std::string_view word, const Piece* pieces, size_t count);

 private:
  struct Range {
    uint32_t begin, count;
  };
  // A short word in two registers, its length in the last byte: 0 is none.
  struct Short {
    uint64_t low = 0, high = 0;
    bool operator==(const Short&) const = default;
  };
  struct Slot {
    Short word;
    Range range;
  };
  static Short ShortOf(std::string_view word);
  // The word's slot among `slots`, a power of two of them, or the empty one that is to be its.
  static size_t PlaceOf(Short word, const std::vector<Slot>& slots);
  void Grow();

  std::vector<Slot> slots_;  // of words of up to 15 bytes; at most half of them are taken
  size_t shorts_ = 0;
  absl::flat_hash_map<std::string, Range> longs_;
  std::vector<Piece> pieces_;
};

// What a thread needs to encode with one model: grown on first use and kept.
struct ModelScratch {
  struct Symbol {
    int32_t id;
    uint32_t bytes;  // 0: merged away
    int32_t prev, next;
  };
  // A merge that may be next: the lowest rank, of equal ones the leftmost.
  struct Candidate {
    uint32_t rank, position;
    int32_t id;
    auto operator<=>(const Candidate&) const = default;
  };
  // The best way to spell the text before a place, of which this is the last piece.
  struct Path {
    double score;
    int32_t id, begin;  // -1: none yet
  };
  PieceCache cache;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<Path> paths;
};

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `word`. Safe from several threads, each with a scratch of its own.
  virtual void Encode(std::string_view word, ModelScratch* scratch,
                      std::vector<Piece>* out) const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  Vocabulary vocabulary_;
};

}  // namespace fttrain
