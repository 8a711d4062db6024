#include "launch/plan/cards.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace fttrain {
namespace {

constexpr double kTera = 1e12;

// What a data sheet says, and which shares of it products and attention reach.
struct Sheet {
  const char* name;
  int64_t memory_mib;  // what the driver gives to a program
  double teraflops;    // bf16, dense, sums in float32
  double gemm, attention;
  double terabytes_per_second;
};

CardKind MakeKind(const Sheet& sheet, NvLink nvlink, double nvlink_rate, double host_copy,
                  bool peer_to_peer) {
  const double peak = sheet.teraflops * kTera;
  const Card card{sheet.name,        sheet.memory_mib << 20, peak,
                  peak * sheet.gemm, peak * sheet.attention, sheet.terabytes_per_second * kTera};
  return {card, nvlink, nvlink_rate, host_copy, peer_to_peer};
}

// Rates and bandwidths are of NVIDIA's data sheets. Shares that products reach: LLMQ's published
// training speeds (4090: all of it, since its clocks pass the nominal; L40S: 230 of 362); the best
// products of public benchmarks at shapes of training (A100, H100); assumed for 3090, 5090 and
// A6000, whose power limits hold it back. Attention: FlashAttention-2's published rates on A100 and
// H100, assumed elsewhere. NVLink: four fifths of what the link carries. Pinned copies: PCIe 4.0
// x16 at 22 GB/s as measured on 4090s, 5.0 at 50.
std::vector<CardKind> MakeTable() {
  constexpr double kPcie4 = 22e9, kPcie5 = 50e9;
  return {
      MakeKind({"RTX 3090", 24000, 71.0, 0.90, 0.70, 0.936}, NvLink::kBridge, 45e9, kPcie4, false),
      MakeKind({"RTX 4090", 24080, 165.2, 1.00, 0.75, 1.008}, NvLink::kNone, 0, kPcie4, false),
      MakeKind({"RTX 5090", 32000, 209.5, 0.95, 0.70, 1.792}, NvLink::kNone, 0, kPcie5, false),
      MakeKind({"RTX A6000", 48500, 154.8, 0.72, 0.55, 0.768}, NvLink::kBridge, 45e9, kPcie4, true),
      MakeKind({"L40S", 45400, 362.0, 0.64, 0.45, 0.864}, NvLink::kNone, 0, kPcie4, true),
      MakeKind({"A100-40", 40300, 312.0, 0.82, 0.60, 1.555}, NvLink::kFabric, 230e9, kPcie4, true),
      MakeKind({"A100", 81000, 312.0, 0.82, 0.60, 2.039}, NvLink::kFabric, 230e9, kPcie4, true),
      MakeKind({"H100", 81000, 989.0, 0.74, 0.55, 3.350}, NvLink::kFabric, 300e9, kPcie5, true),
      MakeKind({"H200", 143000, 989.0, 0.74, 0.55, 4.800}, NvLink::kFabric, 300e9, kPcie5, true),
  };
}

std::string Plain(const std::string& words) {
  std::string plain = absl::AsciiStrToLower(words);
  return absl::StrReplaceAll(plain, {{" ", ""},
                                     {"rtx", ""},
                                     {"a100-80gb", "a100"},
                                     {"a100-80", "a100"},
                                     {"a100-40gb", "a100-40"}});
}

// The smallest known card that has so much, or else the largest.
const CardKind& KindWithMemory(int64_t gigabytes) {
  const auto memory = [](const CardKind* kind) { return kind->card.memory_bytes; };
  const CardKind* best = nullptr;
  for (const CardKind& kind : KnownCards()) {
    if (best == nullptr || memory(&kind) > memory(best)) best = &kind;
  }
  const int64_t needed = gigabytes * 950 << 20;
  for (const CardKind& kind : KnownCards()) {
    if (memory(&kind) >= needed && memory(&kind) < memory(best)) best = &kind;
  }
  return *best;
}

absl::Status UnknownCard(const std::string& words) {
  const auto name = [](std::string* out, const CardKind& kind) { *out += kind.card.name; };
  return absl::InvalidArgumentError(
      absl::StrCat("'", words, "' is no known card: ", absl::StrJoin(KnownCards(), ", ", name),
                   ", or a card's memory as 24GB"));
}

}  // namespace

const std::vector<CardKind>& KnownCards() {
  static const std::vector<CardKind> kTable = MakeTable();
  return kTable;
}

absl::StatusOr<CardKind> FindCard(std::string_view text) {
  const std::string words(text);
  const std::string plain = Plain(words);
  for (const CardKind& kind : KnownCards()) {
    if (Plain(kind.card.name) == plain) return kind;
  }
  absl::string_view number = plain;
  int gigabytes = 0;
  if (!absl::ConsumeSuffix(&number, "gb") || !absl::SimpleAtoi(number, &gigabytes) ||
      gigabytes < 1 || gigabytes > 4096) {
    return UnknownCard(words);
  }
  CardKind kind = KindWithMemory(gigabytes);
  kind.card.name = absl::StrCat(gigabytes, " GB card, as fast as ", kind.card.name);
  // Drivers keep about a fortieth.
  kind.card.memory_bytes = static_cast<int64_t>(gigabytes) * 1000 << 20;
  return kind;
}

}  // namespace fttrain
