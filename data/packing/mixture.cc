#include "data/packing/mixture.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "data/packing/order.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Apart from the order of all, and from each other.
uint64_t SeedOf(uint64_t seed, size_t part) {
  return seed ^ (0x9e3779b97f4a7c15ull * (static_cast<uint64_t>(part) + 1));
}

// Lists through each other: entry i of n stands at (2 i + 1) / 2 n of the way, of equal ones that
// of the first list first.
std::vector<ExampleIndex> Interleave(const std::vector<std::vector<ExampleIndex>>& lists) {
  size_t all = 0;
  for (const auto& list : lists) all += list.size();
  std::vector<size_t> next(lists.size(), 0);
  std::vector<ExampleIndex> out;
  out.reserve(all);
  while (out.size() < all) {
    size_t first = lists.size();
    for (size_t p = 0; p < lists.size(); ++p) {
      if (next[p] == lists[p].size()) continue;
      const auto place = [&](size_t q) { return static_cast<__int128>(2 * next[q] + 1); };
      const auto size = [&](size_t q) { return static_cast<__int128>(lists[q].size()); };
      if (first == lists.size() || place(p) * size(first) < place(first) * size(p)) first = p;
    }
    out.push_back(lists[first][next[first]++]);
  }
  return out;
}

}  // namespace

Mixture::Mixture(std::vector<WeightedPart> parts, uint64_t seed, bool shuffle)
    : parts_(std::move(parts)), seed_(seed), shuffle_(shuffle) {
  weighs_ = std::any_of(parts_.begin(), parts_.end(),
                        [](const WeightedPart& part) { return part.weight != 1; });
}

int64_t Mixture::CountOf(size_t p) const {
  return parts_[p].end - (p == 0 ? 0 : parts_[p - 1].end);
}

Mixture::Range Mixture::DrawsOf(size_t p, int64_t epoch) const {
  const double an_epoch = parts_[p].weight * static_cast<double>(CountOf(p));
  const auto before = [&](int64_t e) {
    return static_cast<int64_t>(std::floor(static_cast<double>(e) * an_epoch));
  };
  return {before(epoch), before(epoch + 1)};
}

int64_t Mixture::SizeOf(int64_t epoch) const {
  int64_t size = 0;
  for (size_t p = 0; p < parts_.size(); ++p) {
    const Range draws = weighs_ ? DrawsOf(p, epoch) : Range{0, CountOf(p)};
    size += draws.end - draws.begin;
  }
  return size;
}

int64_t Mixture::MostOf(size_t p) const {
  if (!weighs_) return 1;
  return static_cast<int64_t>(std::ceil(parts_[p].weight)) + 1;  // a stretch cuts two rounds
}

std::vector<ExampleIndex> Mixture::DrawFrom(size_t p, int64_t epoch) const {
  const int64_t count = CountOf(p), begin = parts_[p].end - count;
  const Range draws = DrawsOf(p, epoch);
  std::vector<ExampleIndex> out;
  out.reserve(static_cast<size_t>(draws.end - draws.begin));
  for (int64_t at = draws.begin; at < draws.end;) {
    const int64_t round = at / count;
    const EpochOrder order(count, SeedOf(seed_, p), round, shuffle_);
    const int64_t end = std::min(draws.end, (round + 1) * count);
    for (; at < end; ++at)
      out.push_back(static_cast<ExampleIndex>(begin + order[at - round * count]));
  }
  return out;
}

std::vector<ExampleIndex> Mixture::Epoch(int64_t epoch) const {
  FT_CHECK(epoch >= 0, "epoch ", epoch);
  std::vector<ExampleIndex> drawn;
  if (weighs_) {
    std::vector<std::vector<ExampleIndex>> lists;
    for (size_t p = 0; p < parts_.size(); ++p) lists.push_back(DrawFrom(p, epoch));
    if (!shuffle_) return Interleave(lists);
    for (const auto& list : lists) drawn.insert(drawn.end(), list.begin(), list.end());
  }
  std::vector<ExampleIndex> out = EpochOrder(SizeOf(epoch), seed_, epoch, shuffle_).All();
  if (weighs_) {
    for (ExampleIndex& place : out) place = drawn[place];
  }
  return out;
}

}  // namespace fttrain
