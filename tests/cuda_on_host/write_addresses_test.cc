// model/matmul/write_addresses.cu on a grid of fibers.
#include "model/matmul/write_addresses.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/cuda_on_host/guarded.h"

namespace fttrain::cuda_on_host {
namespace {

TEST(WriteAddressesCudaKernel, WritesAsManyAsThereAreAndNoneBeside) {
  for (const int64_t count : {1, 2, 3, 31, 96, 3 * kMostGrouped}) {
    std::vector<const void*> want;
    cuda::Addresses addresses = {};
    for (int64_t i = 0; i < 3 * kMostGrouped; ++i) {
      addresses.at[i] = reinterpret_cast<const void*>(uintptr_t{0x7f0012345600} + 16 * i);
      if (i < count) want.push_back(addresses.at[i]);
    }
    for (const Placement placement : {kPlacements[0], kPlacements[2]}) {
      const Guarded<const void*> table(
          "table", std::vector<const void*>(static_cast<size_t>(count)), placement);
      cuda::WriteAddresses(addresses, count, table.data(), nullptr);
      EXPECT_EQ(table.Values(), want) << count;
    }
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host
