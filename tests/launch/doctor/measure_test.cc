// What the doctor reads of a host, and how it tries disks and ways between ranks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "launch/doctor/disk.h"
#include "launch/doctor/host.h"
#include "launch/doctor/links.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

HostRoots RootsIn(const TempFolder& folder) {
  for (const char* made :
       {"proc/77", "sys/devices/system/node/node0", "sys/devices/system/node/node1",
        "sys/devices/system/node/power", "sys/class/iommu/dmar0", "shm"}) {
    std::filesystem::create_directories(folder / made);
  }
  return {folder / "proc", folder / "sys", folder / "shm"};
}

void Put(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST(Host, IsReadFromItsFiles) {
  const TempFolder folder;
  const HostRoots roots = RootsIn(folder);
  Put(folder / "proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n");
  Put(folder / "proc/cmdline", "ro quiet intel_iommu=on iommu=pt\n");
  Put(folder / "proc/cpuinfo", "processor: 0\nflags\t\t: fpu avx2 amx_bf16\nflags : avx512f\n");
  const HostFacts host = LookAtHost("ada", roots);
  EXPECT_EQ(host.host, "ada");
  EXPECT_EQ(host.total_bytes, 2048 * 1024);
  EXPECT_GT(host.available_bytes, 0);
  EXPECT_EQ(host.numa_nodes, 2);
  EXPECT_TRUE(host.iommu);
  EXPECT_EQ(host.iommu_words, "intel_iommu=on iommu=pt");
  EXPECT_THAT(host.cpu_features, ElementsAre("avx2", "amx_bf16"));
  EXPECT_GT(host.shm_bytes, 0);
  EXPECT_NE(host.bf16_gemm, "");
}

TEST(Host, MayHaveNoneOfThem) {
  const TempFolder folder;
  const HostFacts host = LookAtHost("ada", {folder / "no", folder / "no", folder / "no"});
  EXPECT_EQ(host.total_bytes, -1);
  EXPECT_EQ(host.numa_nodes, 1);
  EXPECT_EQ(host.shm_bytes, -1);
  EXPECT_FALSE(host.iommu);
}

TEST(Host, NamesWhoHoldsACardsMemory) {
  const TempFolder folder;
  const HostRoots roots = RootsIn(folder);
  Put(folder / "proc/77/cmdline", std::string("python\0train.py\0", 16));
  CardState card;
  card.holders = {{77, 5, false}, {78, 4, true}};
  const std::vector<CardFacts> cards = WithNames({card}, roots);
  EXPECT_EQ(cards[0].holders[0].name, "python train.py");
  EXPECT_EQ(cards[0].holders[1].name, "") << "not to be seen";
  Put(folder / "proc/77/cmdline", std::string(500, 'x'));
  EXPECT_EQ(WithNames({card}, roots)[0].holders[0].name.size(), 60);
  EXPECT_TRUE(cards[0].holders[1].graphics);
}

TEST(Host, ClocksAreThoseOfACardAtWork) {
  CardState before, after;
  before.uuid = after.uuid = "a";
  before.free_bytes = 10;
  after.free_bytes = 5;
  before.link_generation = 1;
  after.link_generation = 4;
  after.held_back = HeldBack::kHeat;
  std::vector<CardFacts> cards = WithNames({before});
  TakeClocks({after}, cards);
  EXPECT_EQ(cards[0].card.link_generation, 4);
  EXPECT_EQ(cards[0].card.held_back, HeldBack::kHeat);
  EXPECT_EQ(cards[0].card.free_bytes, 10);
}

TEST(Disk, IsTriedWithoutATrace) {
  const TempFolder folder;
  int moves = 0;
  const DiskFacts disk = TryDisk(folder / "run/later", {int64_t{8} << 20, 5}, [&] { ++moves; });
  EXPECT_EQ(disk.error, "");
  EXPECT_EQ(disk.tested, folder.path());
  EXPECT_EQ(disk.written_bytes, int64_t{8} << 20);
  EXPECT_GT(disk.write_rate, 0);
  EXPECT_GT(disk.fsync_seconds, 0);
  EXPECT_GT(disk.free_bytes, 0);
  EXPECT_GT(moves, 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Disk, ThatCannotBeWrittenToIsSaid) {
  EXPECT_THAT(TryDisk("/proc/no/such", {}, [] {}).error, HasSubstr("cannot make a file there: "));
}

TEST(Links, EveryPairOfAFewRanksIsTried) {
  EXPECT_TRUE(PairsToTry(1).empty());
  EXPECT_THAT(PairsToTry(3), ElementsAre(Pair(0, 1), Pair(0, 2), Pair(1, 2)));
  EXPECT_EQ(PairsToTry(16).size(), 16 * 15 / 2);
}

TEST(Links, OfManyRanksEachHasSomeOthers) {
  const auto pairs = PairsToTry(64);
  EXPECT_LE(pairs.size(), 64 * 6);
  std::vector<int> ways(64);
  for (const auto& [a, b] : pairs) {
    EXPECT_LT(a, b);
    ++ways[static_cast<size_t>(a)];
    ++ways[static_cast<size_t>(b)];
  }
  EXPECT_GE(*std::min_element(ways.begin(), ways.end()), 6);
}

TEST(Links, ATransferTakesTheTimeThereIs) {
  const LinkTrial trial;
  const c10::Device cpu(c10::kCPU), gpu(c10::kCUDA, 0);
  EXPECT_EQ(TransferBytes(trial, cpu, 65536, 1.0), trial.least_bytes);
  EXPECT_EQ(TransferBytes(trial, cpu, 65536, 1e-7), trial.most_bytes);
  EXPECT_EQ(TransferBytes(trial, gpu, 65536, 1e-7), trial.most_gpu_bytes);
  EXPECT_EQ(TransferBytes(trial, cpu, 65536, 1e-3), 65536 * 50);
  EXPECT_EQ(TransferBytes(trial, cpu, 65536, 0), trial.most_bytes);
}

TEST(Links, PatternsDifferInEveryPlaceAndWay) {
  const at::Tensor pattern = Pattern(1 << 20, 0, 1, 0);
  EXPECT_TRUE(at::equal(pattern, Pattern(1 << 20, 0, 1, 0)));
  for (const at::Tensor& other :
       {Pattern(1 << 20, 1, 0, 0), Pattern(1 << 20, 0, 1, 1), Pattern(1 << 20, 0, 2, 0)}) {
    EXPECT_GT(at::ne(pattern, other).sum().item<int64_t>(), (1 << 20) * 9 / 10);
  }
  const at::Tensor words = pattern.view(at::kLong);
  const auto* const begin = words.const_data_ptr<int64_t>();
  EXPECT_EQ(std::set<int64_t>(begin, begin + words.numel()).size(), words.numel());
}

}  // namespace
}  // namespace fttrain
