#include "data/tokenizer/token_model.h"

namespace fttrain {
namespace {

constexpr size_t kMaxWords = size_t{1} << 17;
constexpr size_t kMaxBytes = 64;  // longer words hardly come back

}  // namespace

bool PieceCache::Find(std::string_view word, std::vector<Piece>* out) const {
  if (word.size() > kMaxBytes) return false;
  const auto hit = ranges_.find(absl::string_view(word.data(), word.size()));
  if (hit == ranges_.end()) return false;
  const auto begin = pieces_.begin() + static_cast<std::ptrdiff_t>(hit->second.begin);
  out->insert(out->end(), begin, begin + static_cast<std::ptrdiff_t>(hit->second.count));
  return true;
}

void PieceCache::Insert(std::string_view word, const Piece* pieces, size_t count) {
  if (word.size() > kMaxBytes) return;
  if (ranges_.size() >= kMaxWords) {
    ranges_.clear();
    pieces_.clear();
  }
  const Range range{static_cast<uint32_t>(pieces_.size()), static_cast<uint32_t>(count)};
  ranges_.emplace(std::string(word), range);
  pieces_.insert(pieces_.end(), pieces, pieces + count);
}

}  // namespace fttrain
