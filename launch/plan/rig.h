// The machines that a run is planned for: cards and what joins them, as data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

// A kind of GPU. Rates are what good kernels reach, not what a data sheet names; `peak_flops` is
// the data sheet's.
struct Card {
  std::string name;                    // "RTX 4090"
  int64_t memory_bytes = 0;            // that a program can use
  double peak_flops = 0;               // bf16 products, dense, a second; MFU is a share of it
  double gemm_flops = 0;               // of it in products of a training step's shapes
  double attention_flops = 0;          // inside fused attention, a second
  double memory_bytes_per_second = 0;  // of kernels that stream
};

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
// of which a usual card's speeds are assumed (Rig::name says so). Options come last: of the links
// within a host "-nvlink" and "-p2p" (GPUs copy to each other over PCIe), "-x8" (slots of eight
// lanes), and "/Nnodes" with the network in Gbit/s, 10 unless said. InvalidArgument, with the known
// words, for anything else.
absl::StatusOr<Rig> ParseRig(std::string_view words);

// The names that ParseRig knows, in the order of the table.
std::vector<std::string> KnownCards();

}  // namespace fttrain
