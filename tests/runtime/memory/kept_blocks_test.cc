#include "runtime/memory/kept_blocks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace fttrain {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(KeptBlocks, TakesTheBlockAgainThatWasGivenBackWithWhatIsInIt) {
  KeptBlocks blocks;
  auto* const first = static_cast<char*>(blocks.Take(4 * kMiB));
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)), 0U);
  std::memset(first, 7, 4 * kMiB);
  blocks.Give(first, 4 * kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 4 * kMiB);
  auto* const again = static_cast<char*>(blocks.Take(4 * kMiB));
  EXPECT_EQ(again, first);
  EXPECT_EQ(again[4 * kMiB - 1], 7);  // no page was made anew
  blocks.Give(again, 4 * kMiB);
  blocks.Release();
  EXPECT_EQ(blocks.kept_bytes(), 0);
}

TEST(KeptBlocks, MakesABlockOfOneThatIsNearInSize) {
  KeptBlocks blocks;
  void* const large = blocks.Take(20 * kMiB);
  void* block = blocks.Take(4 * kMiB);
  std::memset(block, 7, 4 * kMiB);
  blocks.Give(block, 4 * kMiB);
  for (const int64_t bytes : {5 * kMiB, 4 * kMiB}) {
    auto* const resized = static_cast<char*>(blocks.Take(bytes));
    EXPECT_EQ(blocks.kept_bytes(), 0) << bytes;
    EXPECT_EQ(resized[std::min(bytes, 4 * kMiB) - 1], 7) << bytes;
    resized[bytes - 1] = 7;
    blocks.Give(resized, bytes);
  }
  void* const far = blocks.Take(kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 4 * kMiB);  // left for one that it is near to
  blocks.Give(far, kMiB);
  blocks.Give(large, 20 * kMiB);
  blocks.Release();
}

TEST(KeptBlocks, GivesAsMuchBackToTheSystemAsMakesRoomForABlockOfAnotherSize) {
  KeptBlocks blocks;
  void* const one = blocks.Take(2 * kMiB);
  void* const two = blocks.Take(3 * kMiB);
  blocks.Give(one, 2 * kMiB);
  blocks.Give(two, 3 * kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 5 * kMiB);
  void* const large = blocks.Take(20 * kMiB);  // more than ever before: nothing beside it
  EXPECT_EQ(blocks.kept_bytes(), 0);
  blocks.Give(large, 20 * kMiB);
  void* const small = blocks.Take(2 * kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 18 * kMiB);  // 22 would be more than 20
  blocks.Give(small, 2 * kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 20 * kMiB);
  blocks.Release();
}

TEST(KeptBlocks, ThereIsNeverMoreThanWasTakenAtMost) {
  KeptBlocks blocks;
  std::mt19937 random(1);
  std::vector<std::pair<char*, int64_t>> taken;
  int64_t most = 0;
  for (int i = 0; i < 20000; ++i) {
    if (taken.size() < 12 && random() % 2 == 0) {
      const auto bytes = static_cast<int64_t>(kLargeBlockBytes + random() % (8 * kMiB));
      auto* const data = static_cast<char*>(blocks.Take(bytes));
      ASSERT_NE(data, nullptr);
      // Its own from end to end.
      std::memcpy(data, &bytes, sizeof(bytes));
      std::memcpy(data + bytes - sizeof(bytes), &bytes, sizeof(bytes));
      taken.emplace_back(data, bytes);
    } else if (!taken.empty()) {
      std::swap(taken[random() % taken.size()], taken.back());
      const auto [data, bytes] = taken.back();
      taken.pop_back();
      for (char* end : {data, data + bytes - sizeof(bytes)}) {
        ASSERT_EQ(std::memcmp(end, &bytes, sizeof(bytes)), 0);
      }
      blocks.Give(data, bytes);
    }
    most = std::max(most, blocks.taken_bytes());
    ASSERT_LE(blocks.taken_bytes() + blocks.kept_bytes(), most);
  }
  for (const auto& [data, bytes] : taken) blocks.Give(data, bytes);
  blocks.Release();
}

TEST(KeptBlocks, ThenTheMostIsThatSinceTheLastRelease) {
  KeptBlocks blocks;
  void* const load = blocks.Take(20 * kMiB);
  void* const held = blocks.Take(3 * kMiB);
  blocks.Give(load, 20 * kMiB);
  blocks.Release();
  void* const one = blocks.Take(4 * kMiB);
  blocks.Give(one, 4 * kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 4 * kMiB);
  void* const other = blocks.Take(kMiB);
  EXPECT_EQ(blocks.kept_bytes(), 3 * kMiB);  // 3 + 4 at most
  blocks.Give(other, kMiB);
  blocks.Give(held, 3 * kMiB);
  blocks.Release();
}

TEST(KeptBlocks, AreOfAnyThread) {
  KeptBlocks blocks;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&blocks, t] {
      for (int i = 0; i < 500; ++i) {
        const int64_t bytes = kMiB + (t * 37 + i) % 64 * 4096;
        auto* const data = static_cast<char*>(blocks.Take(bytes));
        data[0] = data[bytes - 1] = static_cast<char>(t);
        std::this_thread::yield();
        EXPECT_TRUE(data[0] == t && data[bytes - 1] == t);
        blocks.Give(data, bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(blocks.taken_bytes(), 0);
  blocks.Release();
}

TEST(KeptBlocks, NoneWhereThereIsNoSuchMemory) {
  KeptBlocks blocks;
  EXPECT_EQ(blocks.Take(int64_t{1} << 60), nullptr);
  EXPECT_EQ(blocks.taken_bytes(), 0);
}

}  // namespace
}  // namespace fttrain
