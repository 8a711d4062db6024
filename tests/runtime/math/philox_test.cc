#include "runtime/math/philox.h"

#include <gmock/gmock.h>

namespace fttrain {
namespace {

using ::testing::ElementsAre;

// The known answers that the authors of "Parallel random numbers: as easy as 1, 2, 3" publish with
// Random123 for philox4x32 with 10 rounds, as counter words 0-3, key words 0-1 -> result.
TEST(Philox4x32, EqualsThePublishedAnswersForZerosOnesAndDigitsOfPi) {
  const uint64_t ones = ~uint64_t{0};
  EXPECT_THAT(Philox4x32(0, 0, 0).x,
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  EXPECT_THAT(Philox4x32(ones, ones, ones).x,
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0.
  EXPECT_THAT(Philox4x32(0x299f31d0a4093822u, 0x85a308d3243f6a88u, 0x0370734413198a2eu).x,
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

TEST(Philox4x32, DependsOnItsArgumentsAlone) {
  const PhiloxBlock first = Philox4x32(1, 2, 3);
  Philox4x32(9, 9, 9);
  const PhiloxBlock second = Philox4x32(1, 2, 3);
  EXPECT_THAT(second.x, ElementsAre(first.x[0], first.x[1], first.x[2], first.x[3]));
}

TEST(UniformFromBits, CoversZeroToJustBelowOne) {
  EXPECT_EQ(UniformFromBits(0), 0.0f);
  EXPECT_EQ(UniformFromBits(0x80000000u), 0.5f);
  EXPECT_EQ(UniformFromBits(0xffffffffu), 1.0f - 1.0f / 16777216.0f);
}

TEST(UniformFromBits, HasTheMeanAndVarianceOfTheUniformDistribution) {
  constexpr int kBlocks = 25000;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    for (const uint32_t bits : Philox4x32(/*key=*/7, i, /*stream=*/11).x) {
      const double u = UniformFromBits(bits);
      sum += u;
      squares += u * u;
    }
  }
  // 100000 draws: five standard errors are 5 * sqrt(1/12) / sqrt(1e5) = 0.0046 and, for u^2,
  // 5 * sqrt(4/45) / sqrt(1e5) = 0.0047.
  EXPECT_NEAR(sum / (4 * kBlocks), 1.0 / 2, 0.0046);
  EXPECT_NEAR(squares / (4 * kBlocks), 1.0 / 3, 0.0047);
}

TEST(StreamOfName, EqualsThePublishedFnv1aAnswers) {
  EXPECT_EQ(StreamOfName(""), 0xcbf29ce484222325u);
  EXPECT_EQ(StreamOfName("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_EQ(StreamOfName("foobar"), 0x85944171f73967e8u);
}

// Checkpoints and golden files rest on these: they were computed apart from this code.
TEST(Streams, StayWhatTheyAreFromVersionToVersion) {
  EXPECT_EQ(StepKey(/*seed=*/42, /*step=*/7), 0x40559cabced86fd8u);
  const uint64_t stream = StreamOfName("model.layers.0.self_attn.q_proj.lora_A.weight");
  EXPECT_EQ(stream, 0xdbbda8edfefc149fu);
  EXPECT_THAT(Philox4x32(42, (uint64_t{1} << 40) + 5, stream).x,
              ElementsAre(0x468a8d1du, 0x94d85a09u, 0xd662ab8au, 0x6064328bu));
}

}  // namespace
}  // namespace fttrain
