#include "launch/plan/rig.h"

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int kMostCards = 1024;
constexpr int64_t kGigabyte = 1'000'000'000;

// What stands behind the cards.
struct Options {
  bool nvlink = false, p2p = false, x8 = false;
  std::optional<int> ram;
  int hosts = 1, gigabits = 10;
};

struct Group {
  int count = 1;
  CardKind kind;
};

absl::Status Refuse(absl::string_view words, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("rig '", words, "': ", why));
}

// A number from 1 on that the whole word is, between `prefix` and `suffix`.
std::optional<int> NumberIn(absl::string_view word, absl::string_view prefix,
                            absl::string_view suffix) {
  int number = 0;
  if (!absl::ConsumePrefix(&word, prefix) || !absl::ConsumeSuffix(&word, suffix) ||
      !absl::SimpleAtoi(word, &number) || number < 1) {
    return std::nullopt;
  }
  return number;
}

// Whether the word is an option of a host, which is then set.
bool ReadHostOption(absl::string_view word, Options& options) {
  if (word == "nvlink") return options.nvlink = true;
  if (word == "p2p") return options.p2p = true;
  if (word == "x8") return options.x8 = true;
  const std::optional<int> ram = NumberIn(word, "ram", "");
  if (ram) options.ram = ram;
  return ram.has_value();
}

// Takes options off the end of `cards`.
void TakeHostOptions(std::string& cards, Options& options) {
  for (size_t dash = cards.rfind('-'); dash != std::string::npos; dash = cards.rfind('-')) {
    if (!ReadHostOption(absl::string_view(cards).substr(dash + 1), options)) return;
    cards.resize(dash);
  }
}

absl::Status ReadNodes(absl::string_view words, absl::string_view nodes, Options& options) {
  const std::vector<std::string> parts = absl::StrSplit(nodes, '-');
  std::optional<int> hosts = NumberIn(parts[0], "", "nodes");
  if (!hosts) hosts = NumberIn(parts[0], "", "node");
  const std::optional<int> gigabits =
      parts.size() == 2 ? NumberIn(parts[1], "", "g") : std::optional<int>(options.gigabits);
  if (!hosts || !gigabits || parts.size() > 2) {
    return Refuse(words, absl::StrCat("'/", nodes,
                                      "' is not as /2nodes or, with the network's Gbit/s, "
                                      "/2nodes-100G"));
  }
  options.hosts = *hosts;
  options.gigabits = *gigabits;
  return absl::OkStatus();
}

absl::StatusOr<Group> ReadGroup(absl::string_view words, absl::string_view part) {
  Group group;
  const size_t times = part.find('x');
  absl::string_view name = part;
  // "RTX" has an x too, behind letters.
  if (times != absl::string_view::npos && times > 0 && absl::ascii_isdigit(part[0])) {
    if (!absl::SimpleAtoi(part.substr(0, times), &group.count) || group.count < 1) {
      return Refuse(words, absl::StrCat("'", part, "' is not a number of cards, as 2x4090"));
    }
    name = part.substr(times + 1);
  }
  if (name.empty())
    return Refuse(words, absl::StrCat("'", part, "' names no card, as 2x4090 does"));
  if (absl::StrContains(name, ',')) {
    return Refuse(
        words, absl::StrCat("'", part, "': cards of two kinds are joined by +, as 1x3090+1xA6000"));
  }
  const absl::StatusOr<CardKind> kind = FindCard(std::string(name));
  if (!kind.ok()) return Refuse(words, kind.status().message());
  group.kind = *kind;
  return group;
}

// Links over PCIe. Without copies from card to card NCCL goes through host memory: 8 to 14 GB/s of
// bus bandwidth on two 4090s, less with more cards; with them 24.7 GB/s is reported.
void SetPcie(Rig& rig, const Options& options, bool peer_to_peer, double host_copy) {
  const int cards = rig.cards_per_host();
  // Cards of a host share its memory and its processor's lanes.
  const double crowd = cards <= 2 ? 1.0 : cards <= 4 ? 0.91 : 0.73;
  const double lanes = options.x8 ? 0.5 : 1.0;
  rig.host_copy = host_copy * crowd * lanes;
  rig.collective = (peer_to_peer ? 22e9 : 11e9) * (cards <= 2 ? 1.0 : 0.91) * lanes;
  rig.neighbour = (peer_to_peer ? 22e9 : 12e9) * lanes;
}

// The slowest NVLink that every card has; nothing without one.
absl::StatusOr<std::optional<double>> NvLinkOf(absl::string_view words,
                                               const std::vector<Group>& groups,
                                               const Options& options, int cards_per_host) {
  double rate = 0;
  bool fabric = true;
  for (const Group& group : groups) {
    fabric &= group.kind.nvlink == NvLink::kFabric;
    const double mine = group.kind.nvlink_bytes_per_second;
    rate = rate == 0 ? mine : std::min(rate, mine);
  }
  if (fabric) return rate;
  if (!options.nvlink) return std::nullopt;
  for (const Group& group : groups) {
    if (group.kind.nvlink != NvLink::kNone && groups.size() == 1) continue;
    return Refuse(
        words, absl::StrCat("-nvlink, but ", group.kind.card.name,
                            groups.size() == 1 ? " has none" : " is beside another kind of card"));
  }
  if (cards_per_host == 2) return rate;
  return Refuse(words, absl::StrCat("-nvlink joins two ", groups[0].kind.card.name,
                                    " of a host, and here are ", cards_per_host));
}

std::string NameOf(const std::vector<Group>& groups, const Options& options) {
  std::vector<std::string> parts;
  for (const Group& group : groups) {
    parts.push_back(absl::StrCat(group.count, " x ", group.kind.card.name));
  }
  std::string name = absl::StrJoin(parts, " + ");
  if (options.nvlink) name += ", NVLink";
  if (options.p2p) name += ", peer to peer";
  if (options.x8) name += ", x8 slots";
  if (options.hosts > 1) {
    absl::StrAppend(&name, ", ", options.hosts, " hosts at ", options.gigabits, " Gbit/s");
  }
  return name;
}

absl::StatusOr<Rig> MakeRig(absl::string_view words, const std::vector<Group>& groups,
                            const Options& options) {
  Rig rig;
  rig.name = NameOf(groups, options);
  rig.hosts = options.hosts;
  bool peer_to_peer = true;
  double host_copy = groups[0].kind.host_copy;
  for (const Group& group : groups) {
    rig.cards.insert(rig.cards.end(), static_cast<size_t>(group.count), group.kind.card);
    peer_to_peer &= group.kind.peer_to_peer;
    host_copy = std::min(host_copy, group.kind.host_copy);
  }
  const int cards = static_cast<int>(rig.cards.size());
  if (cards % rig.hosts != 0) {
    return Refuse(words, absl::StrCat(rig.hosts, " nodes do not divide ", cards, " cards"));
  }
  SetPcie(rig, options, peer_to_peer || options.p2p, host_copy);
  FT_ASSIGN_OR_RETURN(const std::optional<double> nvlink,
                      NvLinkOf(words, groups, options, rig.cards_per_host()));
  if (nvlink) rig.collective = rig.neighbour = *nvlink;
  // Of a network's bits nine tenths carry data.
  rig.between_hosts = rig.hosts > 1 ? options.gigabits * 1e9 / 8 * 0.9 : 0;
  rig.disk = 3e9;  // a usual NVMe drive
  // Unless said: what such machines often have.
  rig.host_memory_bytes =
      options.ram.value_or(std::max(128, 64 * rig.cards_per_host())) * kGigabyte;
  return rig;
}

}  // namespace

absl::StatusOr<Rig> ParseRig(std::string_view text) {
  const absl::string_view words(text.data(), text.size());
  const std::string plain = absl::AsciiStrToLower(absl::StripAsciiWhitespace(words));
  const std::vector<std::string> halves = absl::StrSplit(plain, absl::MaxSplits('/', 1));
  Options options;
  if (halves.size() == 2) FT_RETURN_IF_ERROR(ReadNodes(words, halves[1], options));
  std::string cards = halves[0];
  TakeHostOptions(cards, options);
  std::vector<Group> groups;
  int count = 0;
  for (const absl::string_view part : absl::StrSplit(cards, '+')) {
    FT_ASSIGN_OR_RETURN(groups.emplace_back(), ReadGroup(words, part));
    if (groups.back().count > kMostCards || (count += groups.back().count) > kMostCards) {
      return Refuse(words, absl::StrCat("more than ", kMostCards, " cards"));
    }
  }
  return MakeRig(words, groups, options);
}

}  // namespace fttrain
