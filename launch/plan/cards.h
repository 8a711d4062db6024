// Kinds of GPU and what joins them, as data.
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
  double memory_bytes_per_second = 0;  // of the data sheet
  bool operator==(const Card&) const = default;
};

enum class NvLink {
  kNone,
  kBridge,  // between two cards, if somebody has bought it
  kFabric,  // between all cards of a host, always there
};

// A card and the slot that it is usually in; bytes a second, each way.
struct CardKind {
  Card card;
  NvLink nvlink = NvLink::kNone;
  double nvlink_bytes_per_second = 0;  // that collectives reach
  double host_copy = 0;                // a card alone in its host
  bool peer_to_peer = false;           // the driver lets cards copy to each other over PCIe
};

// By name, in the order that messages list them.
const std::vector<CardKind>& KnownCards();

// A known name (case, blanks and "RTX" do not count), or a memory as 24GB, which has the speeds of
// the known card that has so much: its name says which. InvalidArgument with the known words for
// anything else.
absl::StatusOr<CardKind> FindCard(std::string_view words);

}  // namespace fttrain
