#include "data/tokenizer/bpe.h"

#include <algorithm>
#include <functional>

#include "data/text/unicode.h"
#include "data/tokenizer/pair_key.h"

namespace fttrain {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

}  // namespace

// The first place behind `at` where the word can be cut: before a space mark, which no token that a
// merge makes has behind the character there.
size_t BpeModel::NextCut(std::string_view word, size_t at) const {
  for (;;) {
    at = word.find(kSpaceMark, at + 1);
    if (at == std::string_view::npos) return word.size();
    size_t before = at - 1;
    while ((static_cast<unsigned char>(word[before]) & 0xC0) == 0x80) --before;
    if (!before_space_.contains(Utf8CodePoint(word, before))) return at;
  }
}

void BpeModel::Encode(std::string_view word, ModelScratch* scratch, std::vector<Piece>* out) const {
  if (word.empty()) return;
  const bool kept = ignore_merges_ && !cuts_;  // words are: then also those that are tokens
  if (kept && scratch->cache.Find(word, out)) return;
  if (ignore_merges_) {
    const int32_t whole = byte_level_ ? WordId(word) : vocabulary_.Find(word);
    if (whole >= 0) {
      out->push_back({whole, static_cast<uint32_t>(word.size())});
      if (kept) scratch->cache.Insert(word, &out->back(), 1);
      return;
    }
  }
  if (!cuts_) return EncodePart(word, scratch, out);
  for (size_t at = 0; at < word.size();) {
    const size_t end = NextCut(word, at);
    EncodePart(word.substr(at, end - at), scratch, out);
    at = end;
  }
}

void BpeModel::EncodePart(std::string_view word, ModelScratch* scratch,
                          std::vector<Piece>* out) const {
  if (scratch->cache.Find(word, out)) return;
  const size_t first = out->size();
  Merged(word, scratch, out);
  scratch->cache.Insert(word, out->data() + first, out->size() - first);
}

int32_t BpeModel::WordId(std::string_view word) const {
  const auto found = word_id_.find(absl::string_view(word.data(), word.size()));
  return found == word_id_.end() ? -1 : found->second;
}

namespace {

void AddSymbol(int32_t id, size_t bytes, ModelScratch* scratch) {
  const int32_t n = static_cast<int32_t>(scratch->symbols.size());
  scratch->symbols.push_back({id, static_cast<uint32_t>(bytes), n - 1, n + 1});
}

}  // namespace

// A byte that is no token gives nothing, or the unknown token.
void BpeModel::SplitBytes(std::string_view word, ModelScratch* scratch) const {
  uint32_t unknown_bytes = 0;
  const auto flush = [&] {
    if (unknown_bytes > 0) AddSymbol(unk_, unknown_bytes, scratch);
    unknown_bytes = 0;
  };
  for (const char c : word) {
    const int32_t id = byte_id_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      flush();
      AddSymbol(id, 1, scratch);
    } else if (unk_ >= 0) {
      if (!fuse_unk_) flush();
      ++unknown_bytes;
    }
  }
  flush();
}

// A character that is no token becomes its byte tokens, else the unknown token, else nothing. An
// unknown token waits until the next known character, even past byte tokens: as the format's own
// implementation has it.
void BpeModel::SplitCharacters(std::string_view word, ModelScratch* scratch) const {
  uint32_t unknown_bytes = 0;
  const auto flush = [&] {
    if (unknown_bytes > 0) AddSymbol(unk_, unknown_bytes, scratch);
    unknown_bytes = 0;
  };
  for (size_t i = 0, length = 1; i < word.size(); i += length) {
    length = Utf8Length(static_cast<unsigned char>(word[i]));
    const std::string_view character = word.substr(i, length);
    const int32_t id = vocabulary_.Find(character);
    if (id >= 0) {
      flush();
      AddSymbol(id, length, scratch);
    } else if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) {
                 return byte_id_[static_cast<unsigned char>(c)] >= 0;
               })) {
      for (const char c : character) AddSymbol(byte_id_[static_cast<unsigned char>(c)], 1, scratch);
    } else if (unk_ >= 0) {
      if (!fuse_unk_) flush();
      unknown_bytes += static_cast<uint32_t>(length);
    }
  }
  flush();
}

void BpeModel::SplitPieces(std::string_view word, ModelScratch* scratch) const {
  for (size_t i = 0, length = 1; i < word.size(); i += length) {
    const PieceTrie::Match whole = whole_.LongestAt(word, i);
    if (whole.length > 0) {
      length = whole.length;
      AddSymbol(whole.value, length, scratch);
      continue;
    }
    length = Utf8Length(static_cast<unsigned char>(word[i]));
    const auto symbol = symbol_id_.find(absl::string_view(word.data() + i, length));
    AddSymbol(symbol == symbol_id_.end() ? -1 : symbol->second, length, scratch);
  }
}

void BpeModel::Push(int32_t position, ModelScratch* scratch) const {
  const ModelScratch::Symbol& left = scratch->symbols[static_cast<size_t>(position)];
  if (left.next < 0) return;
  const ModelScratch::Symbol& right = scratch->symbols[static_cast<size_t>(left.next)];
  const auto merge = merges_.find(PairKey(left.id, right.id));
  if (merge == merges_.end()) return;
  scratch->heap.push_back({merge->second.rank, static_cast<uint32_t>(position), merge->second.id});
  std::push_heap(scratch->heap.begin(), scratch->heap.end(), std::greater<>());
}

void BpeModel::Merged(std::string_view word, ModelScratch* scratch, std::vector<Piece>* out) const {
  auto& symbols = scratch->symbols;
  auto& heap = scratch->heap;
  symbols.clear();
  heap.clear();
  if (pieces_) {
    SplitPieces(word, scratch);
  } else if (byte_level_) {
    SplitBytes(word, scratch);
  } else {
    SplitCharacters(word, scratch);
  }
  if (!symbols.empty()) symbols.back().next = -1;
  for (size_t i = 0; i + 1 < symbols.size(); ++i) Push(static_cast<int32_t>(i), scratch);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const ModelScratch::Candidate top = heap.back();
    heap.pop_back();
    ModelScratch::Symbol& left = symbols[top.position];
    if (left.bytes == 0 || left.next < 0) continue;
    ModelScratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    // The pair may have changed since it was pushed; what counts is that it still makes the same
    // token.
    const auto merge = merges_.find(PairKey(left.id, right.id));
    if (merge == merges_.end() || merge->second.id != top.id) continue;
    left.id = top.id;
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) {
      symbols[static_cast<size_t>(left.next)].prev = static_cast<int32_t>(top.position);
    }
    if (left.prev >= 0) Push(left.prev, scratch);
    Push(static_cast<int32_t>(top.position), scratch);
  }
  AppendPieces(word, *scratch, out);
}

void BpeModel::AppendPieces(std::string_view word, const ModelScratch& scratch,
                            std::vector<Piece>* out) const {
  size_t at = 0;
  bool after_unknown = false;
  for (const ModelScratch::Symbol& symbol : scratch.symbols) {
    if (symbol.bytes == 0) continue;
    const bool known = !pieces_ || (symbol.id >= 0 && symbol.id <= vocabulary_.max_id());
    if (known) {
      out->push_back({symbol.id, symbol.bytes});
    } else if (byte_fallback_) {
      for (size_t i = at; i < at + symbol.bytes; ++i) {
        out->push_back({byte_id_[static_cast<unsigned char>(word[i])], 1});
      }
    } else if (after_unknown) {
      out->back().bytes += symbol.bytes;
    } else {
      out->push_back({unk_, symbol.bytes});
    }
    after_unknown = !known;
    at += symbol.bytes;
  }
}

}  // namespace fttrain
