#include "model/network/border.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fttrain {
namespace {

// Numbers whose bytes as elements of another type are no numbers.
at::Tensor Numbers(int64_t count) {
  at::Tensor numbers = at::arange(count, at::kDouble).mul_(1e300 / 3);
  if (count > 0) numbers[0] = std::numeric_limits<double>::quiet_NaN();
  if (count > 1) numbers[1] = -0.0;
  return numbers;
}

bool SameBytes(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kByte), b.contiguous().view(at::kByte));
}

TEST(Border, GivesBackRowsAndNumbersToTheBit) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat, at::kDouble}) {
    for (const int64_t width : {1, 3, 4, 64}) {
      for (const int64_t count : {1, 2, 7, 256}) {
        SCOPED_TRACE(testing::Message() << type << ", " << width << " wide, " << count);
        const at::Tensor x = at::randn({5, width}, type), numbers = Numbers(count);
        const at::Tensor message = PackBorder(x, numbers, MemoryCategory::kWorkspace);
        const int64_t row_bytes = width * x.element_size();
        EXPECT_EQ(message.scalar_type(), type);
        EXPECT_EQ(message.sizes(), at::IntArrayRef({5 + RowsOfNumbers(count, row_bytes), width}));
        const auto [rows, back] = UnpackBorder(message.clone(), count);
        EXPECT_TRUE(SameBytes(rows, x));
        EXPECT_TRUE(SameBytes(back, numbers));
      }
    }
  }
}

TEST(Border, TakesWholeRowsForItsNumbersAndNoMore) {
  EXPECT_EQ(RowsOfNumbers(0, 16), 0);
  EXPECT_EQ(RowsOfNumbers(2, 16), 1);
  EXPECT_EQ(RowsOfNumbers(3, 16), 2);
  EXPECT_EQ(RowsOfNumbers(256, 4096), 1);
}

}  // namespace
}  // namespace fttrain
