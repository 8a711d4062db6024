// From facts to findings, each from a machine that is well but for one thing.
#include "launch/doctor/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "launch/doctor/report.h"

namespace fttrain {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kGib = int64_t{1} << 30;

Versions GoodVersions() {
  return {"2.11.0", "2.11.0", "4.1.4", "4.1.4", true, "13.0", "13.0", "13.1", "2.28.9", "2.28.9"};
}

HostFacts GoodHost(const std::string& name) {
  HostFacts host;
  host.host = name;
  host.total_bytes = 128 * kGib;
  host.available_bytes = 100 * kGib;
  host.shm_bytes = host.shm_free_bytes = 64 * kGib;
  host.open_files = 65536;
  host.bf16_gemm = "native";
  host.has_nvml = true;
  host.driver = "580.65.06";
  for (const char* uuid : {"aaaa", "bbbb"}) {
    CardFacts facts;
    facts.card.name = "RTX 4090";
    facts.card.uuid = name + uuid;
    facts.card.total_bytes = 24 * kGib;
    facts.card.free_bytes = 24 * kGib - (20 << 20);
    facts.card.sm_mhz = facts.card.max_sm_mhz = 2520;
    facts.card.link_generation = facts.card.max_link_generation = 4;
    facts.card.link_width = facts.card.max_link_width = 16;
    host.cards.push_back(facts);
  }
  host.gpu_paths = {{0, 1, true}, {1, 0, true}};
  host.disk.folder = host.disk.tested = "/data";
  host.disk.free_bytes = 500 * kGib;
  host.disk.write_rate = 1e9;
  host.disk.fsync_seconds = 1e-3;
  return host;
}

// Two hosts with two ranks each, a GPU a rank, over NCCL.
Facts Good() {
  Facts facts;
  facts.program = "fttrain 0.1.0 (torch 2.11.0, with CUDA)";
  facts.world_size = 4;
  for (int rank = 0; rank < 4; ++rank) {
    RankFacts one;
    one.rank = rank;
    one.local_rank = rank % 2;
    one.local_size = 2;
    one.host = rank < 2 ? "ada" : "bob";
    one.versions = GoodVersions();
    one.host_cores = one.usable_cores = 16;
    one.threads = 8;
    one.device = "cuda:0";
    one.gpu = "RTX 4090";
    one.uuid = one.host + (rank % 2 == 0 ? "aaaa" : "bbbb");
    one.capability = "8.9";
    one.to_device_rate = one.from_device_rate = 25e9;
    facts.ranks.push_back(one);
  }
  facts.hosts = {GoodHost("ada"), GoodHost("bob")};
  facts.links.transport = "NCCL";
  facts.links.connected = true;
  facts.links.all_pairs = 6;
  for (int a = 0; a < 4; ++a) {
    for (int b = a + 1; b < 4; ++b) {
      const double rate = a / 2 == b / 2 ? 20e9 : 1e9;
      facts.links.pairs.push_back({a, b, 2e-5, {1 << 26, rate, 0, -1}, {1 << 26, rate, 0, -1}});
    }
  }
  facts.links.sums = {{4096, 1e-4, 1e8, {0, 0, 0, 0}}};
  return facts;
}

Findings BadOf(const Facts& facts) {
  Findings bad;
  for (const Finding& finding : JudgeAll(facts)) {
    if (finding.severity == Severity::kError || finding.severity == Severity::kWarning) {
      bad.push_back(finding);
    }
  }
  return bad;
}

struct Case {
  const char* name;
  std::function<void(Facts&)> spoil;
  Severity severity;
  const char* seen;
  const char* fix;
  int exit_code = 0;
};

class OneThingWrong : public ::testing::TestWithParam<Case> {};

TEST_P(OneThingWrong, IsTheOneFindingAndHasAFix) {
  Facts facts = Good();
  GetParam().spoil(facts);
  const Findings bad = BadOf(facts);
  ASSERT_EQ(bad.size(), 1) << FindingsText(bad);
  EXPECT_EQ(bad[0].severity, GetParam().severity);
  EXPECT_THAT(bad[0].seen, HasSubstr(GetParam().seen));
  EXPECT_THAT(bad[0].fix, HasSubstr(GetParam().fix));
  EXPECT_EQ(ExitCodeOf(bad), GetParam().exit_code);
}

void ForVersions(Facts& facts, const std::function<void(Versions&)>& change) {
  for (RankFacts& rank : facts.ranks) change(rank.versions);
}

INSTANTIATE_TEST_SUITE_P(
    Versions, OneThingWrong,
    ::testing::Values(
        Case{"Torch",
             [](Facts& f) { ForVersions(f, [](Versions& v) { v.torch_loaded = "2.10.0"; }); },
             Severity::kError, "compiled for LibTorch 2.11.0, but 2.10.0", "LD_LIBRARY_PATH",
             kExitUsage},
        Case{"Mpi", [](Facts& f) { ForVersions(f, [](Versions& v) { v.mpi_loaded = "5.0.1"; }); },
             Severity::kError, "Open MPI 4.1.4, but 5.0.1", "one installation", kExitUsage},
        Case{"OtherMpi", [](Facts& f) { ForVersions(f, [](Versions& v) { v.mpi_loaded = ""; }); },
             Severity::kWarning, "not Open MPI", "use Open MPI"},
        Case{"Nccl",
             [](Facts& f) { ForVersions(f, [](Versions& v) { v.nccl_loaded = "2.26.2"; }); },
             Severity::kError, "NCCL 2.28.9, but 2.26.2", "libnccl.so.2", kExitUsage},
        Case{"Driver",
             [](Facts& f) { ForVersions(f, [](Versions& v) { v.cuda_driver = "12.8"; }); },
             Severity::kError, "driver serves CUDA 12.8 at most", "a driver for CUDA 13",
             kExitUsage},
        Case{"OnOneRank", [](Facts& f) { f.ranks[2].versions.mpi_loaded = "4.1.6"; },
             Severity::kError, "rank 2 on bob and rank 0 have other libraries", "the same build",
             kExitRanksDisagree}),
    [](const auto& test) { return std::string(test.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Devices, OneThingWrong,
    ::testing::Values(
        Case{"TooOld",
             [](Facts& f) {
               for (RankFacts& r : f.ranks) r.uuid = "", r.to_device_rate = -1, r.device = "cpu";
               for (HostFacts& h : f.hosts) h.cards.clear();
               f.ranks[1].device_error = "GPU 0, GTX 1080, has compute capability 6.1";
             },
             Severity::kError, "rank 1 on ada: GPU 0, GTX 1080", "see above", kExitUsage},
        Case{"Shared", [](Facts& f) { f.ranks[1].uuid = f.ranks[0].uuid; }, Severity::kWarning,
             "ranks 0, 1 share the GPU", "as many ranks as the hosts have GPUs"},
        Case{"SlowCopies", [](Facts& f) { f.ranks[3].from_device_rate = 1.6e9; },
             Severity::kWarning, "back 1.60 GB/s", "slot and riser"},
        Case{"Taken",
             [](Facts& f) {
               CardFacts& card = f.hosts[0].cards[1];
               card.card.free_bytes = 8 * kGib;
               card.holders = {{77, 15 * kGib, false, "python train.py"}, {78, -1, true, ""}};
             },
             Severity::kWarning,
             "15.00 GiB by python train.py (pid 77), some by a process of another container",
             "end those processes"},
        Case{"TakenByNobody", [](Facts& f) { f.hosts[0].cards[1].card.free_bytes = 8 * kGib; },
             Severity::kWarning, "by processes that cannot be seen", "end those processes"},
        Case{"TakenBesideWhatIsReserved",
             [](Facts& f) {
               f.hosts[0].cards[1].card.reserved_bytes = 600 << 20;
               f.hosts[0].cards[1].card.free_bytes = 22 * kGib;
             },
             Severity::kWarning, "1.41 GiB taken before this run: by processes that cannot be seen",
             "end those processes"},
        Case{"Hot",
             [](Facts& f) {
               f.hosts[1].cards[0].card.held_back = HeldBack::kHeat | HeldBack::kHardware;
               f.hosts[1].cards[0].card.sm_mhz = 900;
             },
             Severity::kWarning, "held back by heat (900 of 2520 MHz)", "fans"},
        Case{"Narrow", [](Facts& f) { f.hosts[1].cards[0].card.link_width = 4; },
             Severity::kWarning, "4 of 16 lanes", "slot"},
        Case{"BuiltWithoutCuda",
             [](Facts& f) {
               for (RankFacts& r : f.ranks) {
                 r.uuid = "", r.to_device_rate = -1;
                 r.versions.with_cuda = false;
               }
             },
             Severity::kWarning, "the driver of ada has 2 cards, but this program",
             "build where nvcc is"},
        Case{"Hidden",
             [](Facts& f) {
               for (RankFacts& r : f.ranks) {
                 r.uuid = "", r.to_device_rate = -1;
                 r.environment["CUDA_VISIBLE_DEVICES"] = "";
               }
             },
             Severity::kWarning, "for CUDA_VISIBLE_DEVICES is ''", "unset CUDA_VISIBLE_DEVICES"},
        Case{"Iommu",
             [](Facts& f) {
               f.hosts[0].iommu = true;
               f.hosts[0].iommu_words = "intel_iommu=on";
               f.links.pairs.clear();
             },
             Severity::kWarning, "an IOMMU is on (intel_iommu=on)", "NCCL_P2P_DISABLE=1"}),
    [](const auto& test) { return std::string(test.param.name); });

// The pairs are 0-1, 0-2, 0-3, 1-2, 1-3, 2-3.
INSTANTIATE_TEST_SUITE_P(
    Links, OneThingWrong,
    ::testing::Values(
        Case{"WrongInAHost",
             [](Facts& f) {
               f.links.pairs[5].backward = {1 << 26, 20e9, 64, 4096};
             },
             Severity::kError,
             "the pair of rank 2 and rank 3 (bob, bob) corrupts: of what rank 3 sent to rank 2, 64 "
             "bytes arrived wrong, the first at 4096",
             "NCCL_P2P_DISABLE=1", kExitNumerics},
        Case{"WrongBetweenHosts", [](Facts& f) { f.links.pairs[1].forward.wrong_bytes = 1; },
             Severity::kError, "rank 0 sent to rank 2, 1 byte arrived", "NCCL_IB_DISABLE=1",
             kExitNumerics},
        Case{"WrongOverMpi",
             [](Facts& f) {
               f.links.transport = "MPI";
               f.links.pairs[0].forward.wrong_bytes = 1;
             },
             Severity::kError, "rank 0 and rank 1", "btl_vader_single_copy_mechanism none",
             kExitNumerics},
        Case{"SlowBetweenHosts", [](Facts& f) { f.links.pairs[2].backward.rate = 90e6; },
             Severity::kError, "the pair of rank 0 and rank 3 (ada, bob) is slow",
             "cable and switch port", kExitIo},
        Case{"SlowInAHost", [](Facts& f) { f.links.pairs[0].forward.rate = 1.5e9; },
             Severity::kError, "the usual rate here is 20.00 GB/s", "slots, risers", kExitIo},
        Case{"SlowOnABusyHost",
             [](Facts& f) {
               f.links.pairs[0].forward = {1 << 26, 1.5e9, 0, -1, 0.5};
               f.links.pairs[0].backward.waited = 0.4;
             },
             Severity::kWarning, "is slow, for the host is busy", "end what else runs"},
        Case{"SlowThoughTheHostIsBusy",
             [](Facts& f) {
               f.links.pairs[0].forward = {1 << 26, 0.2e9, 0, -1, 0.5};
             },
             Severity::kError, "rank 0 and rank 1 (ada, ada) is slow: ", "slots", kExitIo},
        Case{"SumOnOneRank", [](Facts& f) { f.links.sums[0].wrong[3] = 2; }, Severity::kError,
             "all_reduce of 4096 bytes is wrong on rank 3: 2 elements", "NCCL_IB_DISABLE",
             kExitNumerics},
        Case{"NotConnected",
             [](Facts& f) {
               f.links = {};
               f.links.transport = "NCCL";
               f.links.error = "ncclGetUniqueId: no interface";
             },
             Severity::kError, "ranks cannot be connected: ncclGetUniqueId", "NCCL_SOCKET_IFNAME",
             kExitPeerLost}),
    [](const auto& test) { return std::string(test.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Hosts, OneThingWrong,
    ::testing::Values(
        Case{"TooManyThreads", [](Facts& f) { f.ranks[2].threads = 16; }, Severity::kWarning,
             "bob: 2 ranks of 16 threads on 16 cores", "OMP_NUM_THREADS=8"},
        Case{"TooManyRanks", [](Facts& f) { f.ranks[0].local_size = 20; }, Severity::kWarning,
             "more ranks than cores", "fewer ranks"},
        Case{"NothingShared", [](Facts& f) { f.ranks[0].shares_memory = false; },
             Severity::kWarning, "ada: its ranks share no memory", "--shm-size=1g"},
        Case{"ClocksApart", [](Facts& f) { f.ranks[3].clock_seconds = 30; }, Severity::kWarning,
             "30.0 s apart", "NTP"},
        Case{"LittleMemory", [](Facts& f) { f.hosts[1].available_bytes = kGib; },
             Severity::kWarning, "bob: 1.00 GiB of 128.00 GiB", "end what takes it"},
        Case{"LittleShm", [](Facts& f) { f.hosts[1].shm_free_bytes = 64 << 20; },
             Severity::kWarning, "/dev/shm has 64.00 MiB free", "--shm-size=1g"},
        Case{"FewFiles", [](Facts& f) { f.hosts[0].open_files = 256; }, Severity::kWarning,
             "open files at most 256", "ulimit -n"},
        Case{"BadVariable", [](Facts& f) { f.hosts[0].bf16_error = "FTTRAIN_BF16_GEMM=fast"; },
             Severity::kError, "FTTRAIN_BF16_GEMM=fast", "unset", kExitUsage},
        Case{"NoDisk", [](Facts& f) { f.hosts[1].disk.error = "cannot make a file there: no"; },
             Severity::kError, "bob: /data: cannot make a file", "--output", kExitCannotCreate},
        Case{"LittleRoom", [](Facts& f) { f.hosts[1].disk.free_bytes = kGib; }, Severity::kWarning,
             "1.00 GiB are free", "make room"},
        Case{"SlowDisk", [](Facts& f) { f.hosts[0].disk.write_rate = 8e6; }, Severity::kWarning,
             "writes 8.0 MB/s to the disk", "write elsewhere"},
        Case{"SlowSync", [](Facts& f) { f.hosts[0].disk.fsync_seconds = 0.4; }, Severity::kWarning,
             "an fsync takes 400.00 ms", "write elsewhere"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Judge, AMachineThatIsWellHasNoWarning) {
  EXPECT_THAT(BadOf(Good()), IsEmpty()) << FindingsText(BadOf(Good()));
  EXPECT_EQ(ExitCodeOf(JudgeAll(Good())), 0);
}

TEST(Judge, SaysNothingOfWhatIsNotMeasured) {
  Facts facts;
  facts.world_size = 2;
  EXPECT_THAT(JudgeAll(facts), IsEmpty());
}

TEST(Judge, AMachineWithoutAGpuIsWell) {
  Facts facts = Good();
  for (RankFacts& rank : facts.ranks) {
    rank.device = "cpu";
    rank.gpu = rank.uuid = "";
    rank.to_device_rate = rank.from_device_rate = -1;
    rank.versions.cuda_driver = "";
  }
  for (HostFacts& host : facts.hosts) host.cards.clear(), host.gpu_paths.clear();
  facts.links.transport = "MPI";
  EXPECT_THAT(BadOf(facts), IsEmpty());
  EXPECT_THAT(JudgeDevices(facts),
              ElementsAre(Field(&Finding::seen, HasSubstr("no GPU: no NVIDIA driver answers"))));
}

TEST(Judge, ARankWithoutAGpuAmongOthersIsAnError) {
  Facts facts = Good();
  facts.ranks[2].uuid = "";
  facts.hosts[1].cards.clear();
  EXPECT_EQ(ExitCodeOf(JudgeDevices(facts)), kExitRanksDisagree);
}

TEST(Judge, APairThatHangsIsNamedAndDecidesTheExitCode) {
  Facts facts = Good();
  facts.links.pairs.resize(1);
  Findings findings = JudgeAll(facts);
  findings.push_back(JudgeHang(facts, {"links", "the pair of rank 2 and rank 3", 2, 3},
                               "nothing has moved for 10 s"));
  EXPECT_EQ(findings.back().seen,
            "the pair of rank 2 and rank 3 hangs: nothing has moved for 10 s");
  EXPECT_THAT(findings.back().fix, HasSubstr("NCCL_P2P_DISABLE=1"));
  findings.insert(findings.begin(), {Severity::kError, "disk", "full", "", kExitCannotCreate});
  EXPECT_EQ(ExitCodeOf(findings), kExitHang);
  EXPECT_THAT(JudgeHang(facts, {"links", "the pair of rank 0 and rank 3", 0, 3}, "").fix,
              HasSubstr("NCCL_IB_DISABLE=1"));
  EXPECT_THAT(JudgeHang(facts, {"disk", "writing to /data"}, "").fix, HasSubstr("file system"));
  const Finding failed = JudgeFailure(facts, {"devices", "opening the devices"}, "no memory");
  EXPECT_EQ(failed.seen, "opening the devices fails: no memory");
  EXPECT_EQ(failed.exit_code, kExitIo);
}

TEST(Judge, AnIommuIsNotedOnceDirectCopiesWereTried) {
  Facts facts = Good();
  facts.hosts[0].iommu = true;
  EXPECT_THAT(BadOf(facts), IsEmpty());
  facts.links.pairs.clear();
  facts.hosts[0].iommu_words = "amd_iommu=on iommu=pt";
  EXPECT_THAT(BadOf(facts), IsEmpty()) << "it translates nothing";
}

TEST(Judge, OneRankIsToldHowToTryTheWaysBetween) {
  Facts facts;
  const Findings findings = JudgeLinks(facts);
  EXPECT_THAT(findings, ElementsAre(Field(&Finding::fix, HasSubstr("mpirun -np N"))));
  EXPECT_EQ(findings[0].severity, Severity::kNote);
}

TEST(Judge, BothDirectionsOfAPairAloneCanBeSlow) {
  Facts facts;
  facts.world_size = 2;
  facts.links.transport = "MPI";
  const auto slow = [&](double there, double back) {
    facts.links.pairs = {{0, 1, 1e-6, {8, there, 0, -1}, {8, back, 0, -1}}};
    return !SlowPairs(facts).empty();
  };
  EXPECT_FALSE(slow(2e9, 1e9));
  EXPECT_TRUE(slow(2e9, 1.9e8));
  EXPECT_TRUE(slow(5e7, 5e7));
}

// Of an idle card, by an older driver too.
TEST(Cards, WhatTheDriverReservesIsNobodys) {
  for (const int64_t reserved : {int64_t{600} << 20, int64_t{-1}}) {
    Facts facts = Good();
    CardState& card = facts.hosts[0].cards[1].card;
    card.reserved_bytes = reserved;
    card.free_bytes = card.total_bytes - (600 << 20);
    EXPECT_THAT(BadOf(facts), IsEmpty()) << reserved;
    facts.hosts[0].cards[1].holders = {{77, 1 << 20, false, "python"}};
    EXPECT_EQ(BadOf(facts).empty(), reserved >= 0) << "who holds some may hold it";
  }
}

TEST(Report, FindingsAreGroupedWithTheirFixBeneath) {
  const Findings findings = {{Severity::kOk, "links", "a"},
                             {Severity::kError, "disk", "b\n", "do c"},
                             {Severity::kWarning, "links", "d", "do e"}};
  EXPECT_EQ(FindingsText(findings),
            "links\n  ok       a\n  warning  d\n           fix: do e\n"
            "disk\n  error    b\\n\n           fix: do c\n1 error, 1 warning\n");
  EXPECT_EQ(ErrorsLine(findings), "disk: b\n");
}

TEST(Report, JsonHasTheFindingsAndWhatWasMeasured) {
  Facts facts = Good();
  facts.hosts[0].cards[0].holders = {{7, 1, false, "\xff not UTF-8"}};
  const auto json = nlohmann::json::parse(FindingsJson(JudgeAll(facts), facts));
  EXPECT_TRUE(json["ok"]);
  EXPECT_EQ(json["findings"].size(), JudgeAll(facts).size());
  EXPECT_EQ(json["measured"]["ranks"][3]["uuid"], "bobbbbb");
  EXPECT_EQ(json["measured"]["links"]["pairs"][0]["forward"]["rate"], 20e9);
}

TEST(Facts, ReachOtherRanksWhole) {
  const Facts facts = Good();
  const auto rank = FactsFrom<RankFacts>(ToText(facts.ranks[1]));
  EXPECT_EQ(ToText(rank), ToText(facts.ranks[1]));
  EXPECT_EQ(rank.versions, facts.ranks[1].versions);
  const auto host = FactsFrom<HostFacts>(ToText(facts.hosts[1]));
  EXPECT_EQ(ToText(host), ToText(facts.hosts[1]));
}

}  // namespace
}  // namespace fttrain
