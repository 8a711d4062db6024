#include "launch/plan/rig.h"

#include <gmock/gmock.h>

#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::AllOf;
using testing::HasSubstr;

Rig Parsed(const char* words) {
  absl::StatusOr<Rig> rig = ParseRig(words);
  EXPECT_TRUE(rig.ok()) << words << ": " << rig.status();
  return rig.ok() ? *std::move(rig) : Rig{};
}

TEST(Rig, HasAsManyCardsAsItsWordsSay) {
  const Rig rig = Parsed("2x4090");
  ASSERT_EQ(rig.cards.size(), 2U);
  EXPECT_EQ(rig.cards[1].name, "RTX 4090");
  EXPECT_EQ(rig.hosts, 1);
  EXPECT_EQ(rig.name, "2 x RTX 4090");
  EXPECT_EQ(Parsed("4090").cards.size(), 1U);
}

TEST(Rig, IsReadWhateverTheCaseAndBlanks) {
  for (const char* words : {"2xRTX 4090", "2xrtx4090", " 2x RTX4090 ", "2X4090"}) {
    EXPECT_EQ(Parsed(words).name, "2 x RTX 4090") << words;
  }
  EXPECT_EQ(Parsed("a100-80").cards[0], Parsed("A100").cards[0]);
  EXPECT_LT(Parsed("a100-40").cards[0].memory_bytes, Parsed("A100").cards[0].memory_bytes);
}

TEST(Rig, KnowsEveryCardOfItsTable) {
  for (const CardKind& kind : KnownCards()) {
    const Rig rig = Parsed(kind.card.name.c_str());
    EXPECT_EQ(rig.cards.at(0), kind.card);
    EXPECT_GT(kind.card.memory_bytes, 20LL << 30);
    EXPECT_LE(kind.card.gemm_flops, kind.card.peak_flops);
    EXPECT_LT(kind.card.attention_flops, kind.card.gemm_flops);
    EXPECT_GT(rig.host_copy, 0);
  }
}

TEST(Rig, OfCardsKnownByTheirMemorySaysWhoseSpeedsItAssumes) {
  const Rig rig = Parsed("1x24GB");
  EXPECT_EQ(rig.cards[0].memory_bytes, 24000LL << 20);
  EXPECT_EQ(rig.cards[0].gemm_flops, Parsed("3090").cards[0].gemm_flops);
  EXPECT_EQ(rig.name, "1 x 24 GB card, as fast as RTX 3090");
  EXPECT_THAT(Parsed("48gb").name, HasSubstr("as fast as RTX A6000"));
  EXPECT_THAT(Parsed("80GB").name, HasSubstr("as fast as A100"));
  EXPECT_THAT(Parsed("8GB").name, HasSubstr("as fast as RTX 3090"));
  EXPECT_THAT(Parsed("192GB").name, HasSubstr("as fast as H200"));
}

TEST(Rig, OfMixedCardsHasThemInOrderAndTheSlowerLinks) {
  const Rig rig = Parsed("1x3090+1xA6000");
  ASSERT_EQ(rig.cards.size(), 2U);
  EXPECT_EQ(rig.cards[0].name, "RTX 3090");
  EXPECT_EQ(rig.cards[1].name, "RTX A6000");
  EXPECT_EQ(rig.name, "1 x RTX 3090 + 1 x RTX A6000");
  EXPECT_EQ(rig.collective, Parsed("2x3090").collective);
}

TEST(Rig, HasFasterLinksWithNvLinkAndPeerToPeer) {
  EXPECT_EQ(Parsed("2xA6000-nvlink").collective, 45e9);
  EXPECT_LT(Parsed("2xA6000").collective, 45e9);
  EXPECT_GT(Parsed("8xH100").collective, 200e9);
  EXPECT_GT(Parsed("2x4090-p2p").collective, Parsed("2x4090").collective);
  EXPECT_EQ(Parsed("2x4090-x8").host_copy, Parsed("2x4090").host_copy / 2);
  EXPECT_EQ(Parsed("2x4090-p2p-x8-ram256").host_memory_bytes, 256'000'000'000);
}

TEST(Rig, IsDividedOverHostsThatANetworkJoins) {
  const Rig rig = Parsed("8x4090/2nodes");
  EXPECT_EQ(rig.cards.size(), 8U);
  EXPECT_EQ(rig.hosts, 2);
  EXPECT_EQ(rig.cards_per_host(), 4);
  EXPECT_DOUBLE_EQ(Parsed("8x4090/2nodes-100G").between_hosts, 10 * rig.between_hosts);
  EXPECT_THAT(rig.name, HasSubstr("2 hosts at 10 Gbit/s"));
}

std::string ErrorOf(const char* words) { return ErrorText(ParseRig(words)); }

TEST(Rig, ThatIsNoneIsRefusedWithTheWordsThatAreKnown) {
  EXPECT_THAT(ErrorOf("2xVoodoo"),
              AllOf(HasSubstr("rig '2xVoodoo'"), HasSubstr("voodoo"), HasSubstr("RTX 4090"),
                    HasSubstr("H200"), HasSubstr("24GB")));
  for (const char* words : {"", "x", "2x", "0x4090", "-1x4090", "2x0GB", "4090+", "+", "2x4090-sli",
                            "99999999999x4090", "2000x4090", "600x4090+600x4090", "2x24TB"}) {
    EXPECT_THAT(ErrorOf(words), HasSubstr("rig '")) << words;
  }
}

TEST(Rig, SaysWhatAWordLacks) {
  EXPECT_THAT(ErrorOf("2x"), HasSubstr("'2x' names no card, as 2x4090 does"));
  EXPECT_THAT(ErrorOf("0x4090"), HasSubstr("'0x4090' is not a number of cards"));
  EXPECT_THAT(ErrorOf("1x3090,1xA6000"), HasSubstr("joined by +"));
}

TEST(Rig, RefusesLinksThatItsCardsCannotHave) {
  EXPECT_THAT(ErrorOf("2x4090-nvlink"), HasSubstr("RTX 4090 has none"));
  EXPECT_THAT(ErrorOf("4x3090-nvlink"), HasSubstr("joins two RTX 3090 of a host, and here are 4"));
  EXPECT_THAT(ErrorOf("1x3090+1xA6000-nvlink"), HasSubstr("beside another kind of card"));
  EXPECT_EQ(Parsed("4x3090-nvlink/2nodes").cards_per_host(), 2);
}

TEST(Rig, RefusesNodesThatDoNotDivideItsCards) {
  EXPECT_THAT(ErrorOf("3x4090/2nodes"), HasSubstr("2 nodes do not divide 3 cards"));
  for (const char* words : {"2x4090/", "2x4090/two", "2x4090/2nodes-", "2x4090/2nodes-10",
                            "2x4090/2nodes-10G-10G", "2x4090/0nodes", "2x4090/2nodes/2nodes"}) {
    EXPECT_THAT(ErrorOf(words), HasSubstr("/2nodes-100G")) << words;
  }
}

}  // namespace
}  // namespace fttrain
