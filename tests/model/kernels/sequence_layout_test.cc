#include "model/kernels/sequence_layout.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <vector>

namespace fttrain {
namespace {

std::vector<int64_t> Values(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kCPU, at::kLong);
  return {wide.const_data_ptr<int64_t>(), wide.const_data_ptr<int64_t>() + wide.numel()};
}

TEST(SequenceLayout, PositionsRestartAtEachDocument) {
  const SequenceLayout layout = MakeSequenceLayout({0, 3, 4, 6}, at::kCPU);
  EXPECT_THAT(Values(layout.positions), testing::ElementsAre(0, 1, 2, 0, 0, 1));
  EXPECT_THAT(Values(layout.cu_seqlens_device), testing::ElementsAre(0, 3, 4, 6));
  EXPECT_EQ(layout.cu_seqlens_device.scalar_type(), at::kInt);
  EXPECT_EQ(layout.max_document_tokens, 3);
  EXPECT_EQ(layout.tokens(), 6);
  EXPECT_EQ(layout.documents(), 3);
}

TEST(SequenceLayout, RefusesListsThatDoNotStartAtZeroOrDoNotAscend) {
  const std::vector<std::vector<int32_t>> bad = {{},        {0},     {1, 2},   {0, 3, 3},
                                                 {0, 4, 2}, {0, -1}, {0, 9, 4}};
  for (const auto& cu_seqlens : bad) {
    EXPECT_THROW(MakeSequenceLayout(cu_seqlens, at::kCPU), c10::Error)
        << testing::PrintToString(cu_seqlens);
  }
}

}  // namespace
}  // namespace fttrain
