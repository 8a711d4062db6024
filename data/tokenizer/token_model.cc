#include "data/tokenizer/token_model.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fttrain {
namespace {

constexpr size_t kMaxWords = size_t{1} << 17;
constexpr size_t kMaxShort = 15;
constexpr size_t kMaxBytes = 64;  // longer words hardly come back

}  // namespace

PieceCache::Short PieceCache::ShortOf(std::string_view word) {
  char bytes[sizeof(Short)] = {};
  std::memcpy(bytes, word.data(), word.size());
  bytes[kMaxShort] = static_cast<char>(word.size());
  Short out;
  std::memcpy(&out, bytes, sizeof(out));
  return out;
}

size_t PieceCache::PlaceOf(Short word, const std::vector<Slot>& slots) {
  const uint64_t mixed = (word.low * 0x9E3779B97F4A7C15) ^ (word.high * 0xC2B2AE3D27D4EB4F);
  size_t at = static_cast<size_t>((mixed * 0x9E3779B97F4A7C15) >> 32) & (slots.size() - 1);
  while (slots[at].word != Short() && slots[at].word != word) at = (at + 1) & (slots.size() - 1);
  return at;
}

void PieceCache::Grow() {
  std::vector<Slot> more(std::max<size_t>(1024, 2 * slots_.size()));
  for (const Slot& slot : slots_) {
    if (slot.word != Short()) more[PlaceOf(slot.word, more)] = slot;
  }
  slots_ = std::move(more);
}

bool PieceCache::Find(std::string_view word, std::vector<Piece>* out) const {
  Range range = {};
  if (word.size() <= kMaxShort) {
    if (slots_.empty() || word.empty()) return false;
    const Slot& slot = slots_[PlaceOf(ShortOf(word), slots_)];
    if (slot.word == Short()) return false;
    range = slot.range;
  } else {
    if (word.size() > kMaxBytes) return false;
    const auto hit = longs_.find(absl::string_view(word.data(), word.size()));
    if (hit == longs_.end()) return false;
    range = hit->second;
  }
  const auto begin = pieces_.begin() + static_cast<std::ptrdiff_t>(range.begin);
  out->insert(out->end(), begin, begin + static_cast<std::ptrdiff_t>(range.count));
  return true;
}

void PieceCache::Insert(std::string_view word, const Piece* pieces, size_t count) {
  if (word.size() > kMaxBytes || word.empty()) return;
  if (shorts_ + longs_.size() >= kMaxWords) {
    std::fill(slots_.begin(), slots_.end(), Slot());
    shorts_ = 0;
    longs_.clear();
    pieces_.clear();
  }
  const Range range{static_cast<uint32_t>(pieces_.size()), static_cast<uint32_t>(count)};
  if (word.size() <= kMaxShort) {
    if (2 * (shorts_ + 1) > slots_.size()) Grow();
    const Short key = ShortOf(word);
    slots_[PlaceOf(key, slots_)] = {key, range};
    ++shorts_;
  } else {
    longs_.emplace(std::string(word), range);
  }
  pieces_.insert(pieces_.end(), pieces, pieces + count);
}

}  // namespace fttrain
