#include "runtime/process/nvml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "runtime/process/versions.h"

namespace fttrain {
namespace {

// A driver with two cards: a warm one that a desktop and a training share, and an empty one whose
// functions fail.
int Version(char* text, unsigned int length) {
  std::strncpy(text, "580.65.06", length);
  return 0;
}
int Count(unsigned int* count) {
  *count = 2;
  return 0;
}
int Device(unsigned int index, NvmlCalls::Device* device) {
  static int cards[2];
  *device = &cards[index];
  return 0;
}
bool IsFirst(NvmlCalls::Device device) {
  NvmlCalls::Device first = nullptr;
  Device(0, &first);
  return device == first;
}
int Name(NvmlCalls::Device, char* text, unsigned int length) {
  std::strncpy(text, "NVIDIA GeForce RTX 4090", length);
  return 0;
}
int Uuid(NvmlCalls::Device device, char* text, unsigned int length) {
  std::strncpy(text, IsFirst(device) ? "GPU-1A2B3C4D-0000-0000-0000-00000000000F" : "GPU-2-0",
               length);
  return 0;
}
int Memory(NvmlCalls::Device device, NvmlCalls::Memory* memory) {
  *memory = {24000, 20000, 4000};
  return IsFirst(device) ? 0 : 999;
}
int MemoryV2(NvmlCalls::Device device, NvmlCalls::MemoryV2* memory) {
  EXPECT_EQ(memory->version, (2U << 24) + 40) << "its size, and 2";
  *memory = {memory->version, 24000, 600, 23000, 400};
  return IsFirst(device) ? 0 : 999;
}
int Compute(NvmlCalls::Device device, unsigned int* count, NvmlCalls::Process* processes) {
  if (!IsFirst(device)) return 3;
  EXPECT_GE(*count, 2u);
  *count = 2;
  processes[0] = {71, ~0ull, 0, 0};
  processes[1] = {72, 3000, 0, 0};
  return 0;
}
int Graphics(NvmlCalls::Device device, unsigned int* count, NvmlCalls::Process* processes) {
  if (!IsFirst(device)) return 3;
  *count = 2;
  processes[0] = {72, 3000, 0, 0};
  processes[1] = {1000, 900, 0, 0};
  return 0;
}
int Clock(NvmlCalls::Device, unsigned int which, unsigned int* mhz) {
  *mhz = which == 1 ? 1400 : 10501;
  return which == 1 || which == 2 ? 0 : 2;
}
int WhyHeldBack(NvmlCalls::Device, unsigned long long* bits) {
  *bits = HeldBack::kHeat;
  return 0;
}
int Lanes(NvmlCalls::Device, unsigned int* lanes) {
  *lanes = 8;
  return 0;
}

NvmlCalls Fake() {
  NvmlCalls calls;
  calls.driver_version = Version;
  calls.count = Count;
  calls.device = Device;
  calls.name = Name;
  calls.uuid = Uuid;
  calls.memory = Memory;
  calls.compute = Compute;
  calls.graphics = Graphics;
  calls.clock = Clock;
  calls.held_back = WhyHeldBack;
  calls.link_width = Lanes;
  return calls;
}

TEST(Nvml, CardsAreReadWithWhoHoldsTheirMemory) {
  const NvmlCalls nvml = Fake();
  EXPECT_EQ(DriverVersion(nvml), "580.65.06");
  const std::vector<CardState> cards = ReadCards(nvml);
  ASSERT_EQ(cards.size(), 2);
  const CardState& card = cards[0];
  EXPECT_EQ(card.name, "NVIDIA GeForce RTX 4090");
  EXPECT_EQ(card.uuid, "1a2b3c4d00000000000000000000000f");
  EXPECT_EQ(card.total_bytes, 24000);
  EXPECT_EQ(card.free_bytes, 20000);
  ASSERT_EQ(card.holders.size(), 3) << "a process that computes and draws is one";
  EXPECT_EQ(card.holders[0].pid, 72);
  EXPECT_FALSE(card.holders[0].graphics);
  EXPECT_EQ(card.holders[1].pid, 1000);
  EXPECT_TRUE(card.holders[1].graphics);
  EXPECT_EQ(card.holders[2].bytes, -1) << "not told";
  EXPECT_EQ(card.sm_mhz, 1400);
  EXPECT_EQ(card.memory_mhz, 10501);
  EXPECT_EQ(card.held_back, HeldBack::kHeat);
  EXPECT_EQ(card.link_width, 8);
}

// An idle card of a data centre: nobody has taken what the driver reserves.
TEST(Nvml, WhatTheDriverReservesIsToldApartWhereItSays) {
  NvmlCalls nvml = Fake();
  EXPECT_EQ(ReadCards(nvml)[0].reserved_bytes, -1);
  nvml.memory_v2 = MemoryV2;
  const std::vector<CardState> cards = ReadCards(nvml);
  ASSERT_EQ(cards.size(), 2);
  EXPECT_EQ(cards[0].total_bytes, 24000);
  EXPECT_EQ(cards[0].free_bytes, 23000);
  EXPECT_EQ(cards[0].reserved_bytes, 600);
  EXPECT_EQ(cards[1].total_bytes, -1);
  EXPECT_EQ(cards[1].reserved_bytes, -1);
  // The newer function may be there and refuse.
  nvml.memory_v2 = [](NvmlCalls::Device, NvmlCalls::MemoryV2*) { return 25; };
  EXPECT_EQ(ReadCards(nvml)[0].free_bytes, 20000);
  EXPECT_EQ(ReadCards(nvml)[0].reserved_bytes, -1);
}

TEST(Nvml, WhatADriverCannotTellIsNotKnown) {
  const std::vector<CardState> cards = ReadCards(Fake());
  EXPECT_EQ(cards[1].total_bytes, -1);
  EXPECT_TRUE(cards[1].holders.empty());
  EXPECT_EQ(cards[1].max_sm_mhz, -1);
  EXPECT_EQ(cards[1].link_generation, -1);
  EXPECT_TRUE(ReadCards(NvmlCalls()).empty());
  EXPECT_EQ(DriverVersion(NvmlCalls()), "");
}

TEST(Nvml, AHostWithoutADriverHasNone) {
  EXPECT_FALSE(LoadNvml("libno-such-driver.so.1"));
  EXPECT_FALSE(LoadNvml("libm.so.6")) << "another library";
}

TEST(Versions, AreReadFromWhatLibrariesTell) {
  EXPECT_EQ(OpenMpiVersion("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4"), "4.1.4");
  EXPECT_EQ(OpenMpiVersion("Open MPI v5.0.7"), "5.0.7");
  EXPECT_EQ(OpenMpiVersion("MPICH Version: 4.0"), "");
  EXPECT_EQ(CudaVersionText(13000), "13.0");
  EXPECT_EQ(CudaVersionText(12080), "12.8");
  EXPECT_EQ(CudaVersionText(0), "");
  EXPECT_EQ(NcclVersionText(22809), "2.28.9");
}

TEST(HidesAllGpus, WhereNoCardIsNamed) {
  for (const char* hides : {"", "-1", "NoDevFiles", "none", "void"}) {
    EXPECT_TRUE(HidesAllGpus(hides)) << hides;
  }
  for (const char* names : {"0", "0,1", "3,-1", "GPU-8932f937", "MIG-1a2b"}) {
    EXPECT_FALSE(HidesAllGpus(names)) << names;
  }
}

TEST(Versions, LoadedAreThoseCompiledFor) {
  const Versions versions = VersionsInUse();
  EXPECT_EQ(versions.torch_loaded, versions.torch_compiled);
  EXPECT_EQ(versions.mpi_loaded, versions.mpi_compiled);
  EXPECT_EQ(versions.nccl_loaded, versions.nccl_compiled);
}

}  // namespace
}  // namespace fttrain
