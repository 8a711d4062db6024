#include "launch/plan/fewer_cards.h"

#include <bit>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr double kWorthLeavingOut = 1.02;

Rig OnlyCards(const Rig& rig, const std::vector<int>& cards) {
  Rig fewer = rig;
  fewer.cards.clear();
  for (const int rank : cards) fewer.cards.push_back(rig.cards[static_cast<size_t>(rank)]);
  fewer.name = absl::StrCat(cards.size() == 1 ? "card " : "cards ", absl::StrJoin(cards, ", "),
                            " of ", rig.name);
  return fewer;
}

// What some cards gain over all; empty where it is nothing.
std::string Gain(const Found& all, const Found& some) {
  if (some.fits.empty()) return "";
  if (all.fits.empty()) return "with all of them nothing fits";
  const double longer = all.fits.front().candidate.cost / some.fits.front().candidate.cost;
  if (longer < kWorthLeavingOut) return "";
  return absl::StrFormat("all of them take %.0f%% longer", 100 * (longer - 1));
}

}  // namespace

std::vector<std::vector<int>> CardsToTryAlone(const Rig& rig) {
  std::vector<std::vector<int>> all;
  if (rig.hosts > 1) return all;
  std::set<double> speeds;
  for (const Card& card : rig.cards) speeds.insert(card.gemm_flops);
  for (const double slowest : speeds) {
    std::vector<int> cards;
    for (size_t rank = 0; rank < rig.cards.size(); ++rank) {
      if (rig.cards[rank].gemm_flops >= slowest) cards.push_back(static_cast<int>(rank));
    }
    if (cards.size() < rig.cards.size()) all.push_back(cards);
    const size_t even = std::bit_floor(cards.size());
    if (even == cards.size()) continue;
    cards.resize(even);
    all.push_back(std::move(cards));
  }
  return all;
}

absl::StatusOr<std::optional<FewerCards>> SearchFewerCards(const SearchSpace& space,
                                                           const Found& all, size_t layouts,
                                                           const BytesOfRank& bytes_of) {
  std::optional<FewerCards> best;
  for (std::vector<int>& cards : CardsToTryAlone(space.rig)) {
    FewerCards fewer;
    fewer.rig = OnlyCards(space.rig, cards);
    for (const int card : cards) fewer.room.push_back(space.room[static_cast<size_t>(card)]);
    const SearchSpace part{space.task, space.base, fewer.rig, space.kept, fewer.room};
    absl::StatusOr<Found> found = SearchLayouts(part, layouts, bytes_of);
    if (absl::IsInvalidArgument(found.status())) continue;  // no layout with the keys that are kept
    FT_RETURN_IF_ERROR(found.status());
    const std::string gain = Gain(best ? best->found : all, *found);
    if (gain.empty()) continue;
    fewer.gain =
        absl::StrCat(fewer.rig.name, " alone (CUDA_VISIBLE_DEVICES=", absl::StrJoin(cards, ","),
                     "): ", Gain(all, *found));
    fewer.found = *std::move(found);
    fewer.cards = std::move(cards);
    best = std::move(fewer);
  }
  return best;
}

}  // namespace fttrain
