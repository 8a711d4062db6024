// The machines that a run is planned for: cards and what joins them, as data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/plan/cards.h"

namespace fttrain {

// Of each card, what a desktop takes: --desktop's default.
inline constexpr int64_t kDesktopBytes = int64_t{1} << 29;

// Cards by rank, and the links between them, in bytes a second.
struct Rig {
  std::string name;               // "2 x RTX 4090", and what was assumed
  std::vector<Card> cards;        // by rank
  int hosts = 1;                  // which divide the cards evenly
  double collective = 0;          // bus bandwidth of ring collectives within a host, of each card
  double neighbour = 0;           // send and receive within a host
  double between_hosts = 0;       // either, of one host
  double host_copy = 0;           // pinned host memory to a card, each direction, all cards at once
  double disk = 0;                // read by one host, of what the system has not cached
  int64_t host_memory_bytes = 0;  // of one host, for all its cards

  int cards_per_host() const { return static_cast<int>(cards.size()) / hosts; }
};

// "2x4090", "1x24GB", "2xA6000-nvlink", "8x4090/2nodes", "8x4090/2nodes-100G", "1x3090+1xA6000",
// "4090" (one). A card is a known name (case, blanks and "RTX" do not count) or its memory in GB,
// of which a usual card's speeds are assumed (Rig::name says so). After the cards, of every host:
// "-nvlink" (a bridge between two cards that take one; A100, H100 and H200 have it anyway), "-p2p"
// (cards copy to each other over PCIe), "-x8" (slots of eight lanes), "-ram256" (GB of host
// memory). "/2nodes": hosts that divide the cards, joined by 10 Gbit/s or as many as "-100G" says.
// InvalidArgument, with the known words, for anything else.
absl::StatusOr<Rig> ParseRig(std::string_view words);

}  // namespace fttrain
