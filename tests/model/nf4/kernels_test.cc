// The CPU loops beneath nf4.h: every instruction set against the portable one, bit for bit, and the
// element arithmetic against ATen's.
#include "model/nf4/kernels.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "model/nf4/math.h"
#include "runtime/math/dynamic_map.h"

namespace fttrain {
namespace {

constexpr Dtype kDtypes[] = {Dtype::kFloat32, Dtype::kBfloat16, Dtype::kFloat16, Dtype::kFloat64};

std::vector<uint8_t> RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// Of every magnitude, zeros and denormals included.
std::vector<float> RandomScales(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> scales(count);
  for (float& scale : scales) {
    const int exponent = static_cast<int>(random() % 276) - 150;
    scale = random() % 16 == 0
                ? 0.0F
                : std::ldexp(1.0F + static_cast<float>(random() % 1024) / 1024.0F, exponent);
  }
  return scales;
}

class EveryInstructionSet : public ::testing::Test {
 protected:
  const Nf4Kernels& portable_ = Nf4KernelsBase();
  const std::vector<const Nf4Kernels*> usable_ = UsableNf4Kernels();
};

TEST_F(EveryInstructionSet, DequantisesToTheSameBits) {
  const std::vector<uint8_t> codes = RandomBytes(600, 1);
  const std::vector<float> absmax = RandomScales(40, 2);
  for (const Dtype rounding : {Dtype::kFloat32, Dtype::kBfloat16, Dtype::kFloat16}) {
    for (const Dtype type : kDtypes) {
      for (const int64_t block_size : {32, 64, 256}) {
        for (const int64_t first : {0, 1, 6, 32}) {
          for (const int64_t count : {1, 2, 15, 32, 33, 64, 96, 511, 1024}) {
            for (const bool stream : {false, true}) {
              const Nf4Piece piece = {codes.data(),       first,         count,    block_size,
                                      first % block_size, absmax.data(), rounding, stream};
              alignas(64) uint8_t want[8200], got[8200];
              std::memset(want, 0xa5, sizeof(want));
              portable_.dequantize(piece, type, want);
              for (const Nf4Kernels* kernels : usable_) {
                std::memset(got, 0xa5, sizeof(got));
                kernels->dequantize(piece, type, got);
                ASSERT_EQ(std::memcmp(got, want, sizeof(got)), 0)
                    << kernels->name << " rounding " << static_cast<int>(rounding) << " type "
                    << static_cast<int>(type) << " block " << block_size << " first " << first
                    << " count " << count;
              }
            }
          }
        }
      }
    }
  }
}

TEST_F(EveryInstructionSet, QuantisesToTheSameCodesAndScales) {
  std::vector<float> values = RandomScales(4133, 3);
  const std::vector<uint8_t> signs = RandomBytes(values.size(), 4);
  for (size_t i = 0; i < values.size(); ++i) {
    // Blocks of one magnitude among those of every magnitude.
    if (i / 64 % 2 == 0) values[i] = std::ldexp(static_cast<float>(signs[i] % 101), -100);
    if (signs[i] % 2 == 0) values[i] = -values[i];
  }
  const at::Tensor exact =
      at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kFloat);
  for (const at::ScalarType scalar : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor x = exact.clamp(-60000, 60000).to(scalar);
    const Dtype type = scalar == at::kFloat      ? Dtype::kFloat32
                       : scalar == at::kBFloat16 ? Dtype::kBfloat16
                                                 : Dtype::kFloat16;
    for (const int64_t block_size : {32, 64, 1024, 4096}) {
      std::vector<uint8_t> want(2068, 0xa5);
      std::vector<float> want_absmax(131, -1.0F);
      portable_.quantize(x.const_data_ptr(), type, x.numel(), block_size, want.data(),
                         want_absmax.data());
      for (const Nf4Kernels* kernels : usable_) {
        std::vector<uint8_t> got(want.size(), 0xa5);
        std::vector<float> absmax(want_absmax.size(), -1.0F);
        kernels->quantize(x.const_data_ptr(), type, x.numel(), block_size, got.data(),
                          absmax.data());
        EXPECT_EQ(got, want) << kernels->name << " " << scalar << " " << block_size;
        EXPECT_EQ(absmax, want_absmax) << kernels->name << " " << scalar << " " << block_size;
      }
    }
  }
}

TEST_F(EveryInstructionSet, CodesScalesTheSame) {
  std::vector<float> absmax = RandomScales(256, 5);
  for (float& x : absmax) x = std::fmin(x, 3.0F);
  const float* map = SignedDynamicMap().data();
  const std::array<float, 256> table = DynamicThresholds(SignedDynamicMap());
  const float* thresholds = table.data();
  std::vector<uint8_t> want(256);
  const float want_group =
      portable_.encode_group(absmax.data(), 256, 0.7F, thresholds, want.data());
  std::vector<float> want_decoded(200);
  const float groups[] = {want_group, 0.25F};
  portable_.decode_scales({want.data(), 200, 100, groups, map, 0.7F}, want_decoded.data());
  EXPECT_EQ(want_decoded[160], map[want[160]] * 0.25F + 0.7F);
  for (const Nf4Kernels* kernels : usable_) {
    std::vector<uint8_t> got(256);
    std::vector<float> decoded(200);
    EXPECT_EQ(kernels->encode_group(absmax.data(), 256, 0.7F, thresholds, got.data()), want_group);
    kernels->decode_scales({want.data(), 200, 100, groups, map, 0.7F}, decoded.data());
    EXPECT_EQ(got, want) << kernels->name;
    EXPECT_EQ(decoded, want_decoded) << kernels->name;
  }
}

TEST_F(EveryInstructionSet, ShowsANotANumberOrInfinityInTheScale) {
  for (const Nf4Kernels* kernels : usable_) {
    std::vector<float> values(96, 1.0F);
    values[40] = std::nanf("");
    values[70] = -INFINITY;
    std::vector<uint8_t> codes(48);
    float absmax[3];
    kernels->quantize(values.data(), Dtype::kFloat32, 96, 32, codes.data(), absmax);
    EXPECT_EQ(absmax[0], 1.0F);
    EXPECT_TRUE(std::isnan(absmax[1])) << kernels->name;
    EXPECT_EQ(absmax[2], INFINITY) << kernels->name;
  }
}

TEST(Nf4Math, HalfConversionsEqualAten) {
  const at::Tensor halves = at::arange(0, 65536, at::kInt).to(at::kShort).view(at::kHalf);
  const at::Tensor wide = halves.to(at::kFloat);
  for (int i = 0; i < 65536; ++i) {
    const float want = wide.const_data_ptr<float>()[i],
                got = FloatFromHalf(static_cast<uint16_t>(i));
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << i;
      continue;
    }
    ASSERT_EQ(MagnitudeBits(got), MagnitudeBits(want)) << i;
    ASSERT_EQ(std::signbit(got), std::signbit(want)) << i;
    ASSERT_EQ(HalfFromFloat(got), i);
  }
  // Every exponent, ties and their neighbours included.
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 4093) {
    const float x = FloatFromBits(static_cast<uint32_t>(bits) & 0xffffffffU);
    if (std::isnan(x)) continue;
    ASSERT_EQ(HalfFromFloat(x), c10::Half(x).x) << bits;
  }
  for (int i = 0; i < 0x7bff; ++i) {
    const float tie = (wide.const_data_ptr<float>()[i] + wide.const_data_ptr<float>()[i + 1]) / 2;
    ASSERT_EQ(HalfFromFloat(tie), i + i % 2) << i;
    ASSERT_EQ(HalfFromFloat(std::nextafter(tie, 0.0F)), i);
    ASSERT_EQ(HalfFromFloat(std::nextafter(tie, INFINITY)), i + 1);
  }
}

TEST(Nf4Math, ACodeCountsTheThresholdsBelow) {
  const Nf4Table table = MakeNf4Table();
  for (uint32_t code = 0; code < 16; ++code) {
    EXPECT_EQ(Nf4Code(table.values[code], table.thresholds), code);
    if (code == 15) continue;
    EXPECT_EQ(Nf4Code(table.thresholds[code], table.thresholds), code);
    EXPECT_EQ(Nf4Code(std::nextafter(table.thresholds[code], 2.0F), table.thresholds), code + 1);
  }
}

}  // namespace
}  // namespace fttrain
