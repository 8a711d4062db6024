#include "data/packing/token_index.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace fttrain {
namespace {

std::vector<TokenIndexEntry> Read(const TokenIndex& index) {
  std::vector<TokenIndexEntry> entries;
  TokenIndexEntry entry;
  for (TokenIndex::Reader reader(index); reader.Next(&entry);) entries.push_back(entry);
  return entries;
}

TEST(TokenIndex, GivesBackWhatItWasGiven) {
  std::mt19937_64 random(3);
  const auto up_to = [&](uint64_t most) {
    // Small and great numbers alike.
    return std::uniform_int_distribution<uint64_t>(0, most >> (random() % 32))(random);
  };
  TokenIndex index(16);
  std::vector<TokenIndexEntry> given;
  uint64_t begin = 16, row = 0;
  for (int i = 0; i < 30000; ++i) {
    row += up_to(uint64_t{1} << 40);
    const auto tokens = static_cast<uint32_t>(up_to(UINT32_MAX));
    given.push_back({begin, row, tokens, static_cast<uint32_t>(up_to(tokens)),
                     static_cast<uint32_t>(random()), static_cast<uint32_t>(random() % 4)});
    index.Add(given.back());
    begin = given.back().end();
  }
  EXPECT_EQ(index.size(), given.size());
  EXPECT_EQ(Read(index), given);
  EXPECT_EQ(Read(index), given) << "as often as one asks";
  EXPECT_TRUE(Read(TokenIndex(16)).empty());
}

}  // namespace
}  // namespace fttrain
