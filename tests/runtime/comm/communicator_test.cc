// One body for every communicator: which one is tested is a parameter, given at the end of the
// file.
#include "runtime/comm/communicator.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/comm/backends.h"
#include "runtime/comm/shared_segment.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/mpi_util.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

struct Kind {
  const char* name;
  CommBackend backend;
  DeviceKind device;
  bool shares_memory = true;
};

// While it lives, /dev/shm is too small for what ranks exchange.
class NoSharedMemory {
 public:
  NoSharedMemory() {
    getrlimit(RLIMIT_FSIZE, &before_);
    signal_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit little{1 << 16, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &little);
  }
  ~NoSharedMemory() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }

 private:
  rlimit before_;
  void (*signal_)(int);
};

constexpr at::ScalarType kDtypes[] = {at::kDouble, at::kFloat, at::kBFloat16, at::kLong, at::kByte};
// Empty, one element, odd, not divisible by the ranks, larger than any transport's fragment.
constexpr int64_t kLengths[] = {0, 1, 7, 1023, 200001};

// Integers in [0, 10), different on every rank: exact in every dtype, summed in whatever order.
at::Tensor SmallIntegers(int rank, at::IntArrayRef sizes, at::ScalarType dtype) {
  auto generator = at::detail::createCPUGenerator(/*seed_val=*/1000 + rank);
  return at::randint(10, sizes, generator, at::kLong).to(dtype);
}

at::Tensor Gaussian(int rank, at::IntArrayRef sizes, at::ScalarType dtype) {
  auto generator = at::detail::createCPUGenerator(/*seed_val=*/2000 + rank);
  return at::randn(sizes, generator, at::kDouble).to(dtype);
}

class Collectives : public ::testing::TestWithParam<Kind> {
 protected:
  Collectives() : comm_(Create(0)) {
    const auto device = SelectDevice(GetParam().device, TestProcess());
    EXPECT_TRUE(device.ok()) << device.status();
    device_ = *device;
  }

  static std::unique_ptr<Communicator> Create(int color) {
    // GPU first: NCCL binds a communicator to the current one.
    const auto device = SelectDevice(GetParam().device, TestProcess());
    EXPECT_TRUE(device.ok()) << device.status();
    std::optional<NoSharedMemory> apart;
    if (!GetParam().shares_memory) apart.emplace();
    auto comm = CreateCommunicator(GetParam().backend, TestProcess(),
                                   {.axis = "tp", .color = color, .key = TestProcess().rank()});
    EXPECT_TRUE(comm.ok()) << comm.status();
    return *std::move(comm);
  }

  Communicator& comm() { return *comm_; }
  int rank() const { return comm_->rank(); }
  int size() const { return comm_->size(); }
  at::Tensor OnDevice(const at::Tensor& tensor) const { return tensor.to(device_, false, true); }
  at::Tensor Empty(at::IntArrayRef sizes, at::ScalarType dtype) const {
    return at::full(sizes, 77, at::TensorOptions().dtype(dtype).device(device_));
  }

  // Every rank's SmallIntegers, one under the other: [size, ...].
  at::Tensor EveryRanks(at::IntArrayRef sizes, at::ScalarType dtype) const {
    std::vector<at::Tensor> all;
    for (int r = 0; r < size(); ++r) all.push_back(SmallIntegers(r, sizes, dtype));
    return at::stack(all);
  }

  void ExpectEqual(const at::Tensor& got, const at::Tensor& want) const {
    const at::Tensor host = got.to(at::kCPU);
    EXPECT_EQ(host.sizes(), want.sizes());
    EXPECT_EQ(host.scalar_type(), want.scalar_type());
    EXPECT_TRUE(at::equal(host, want))
        << "dtype " << want.scalar_type() << ", sizes " << want.sizes();
  }

  std::unique_ptr<Communicator> comm_;
  c10::Device device_{at::kCPU};
};

TEST_P(Collectives, AllReduceSumEqualsPlainSum) {
  for (const auto dtype : kDtypes) {
    for (const int64_t length : kLengths) {
      at::Tensor tensor = OnDevice(SmallIntegers(rank(), {length}, dtype));
      comm().AllReduce(tensor);
      ExpectEqual(tensor, EveryRanks({length}, dtype).to(at::kDouble).sum(0).to(dtype));
    }
  }
}

TEST_P(Collectives, AllReduceMaxEqualsPlainMax) {
  for (const auto dtype : kDtypes) {
    for (const int64_t length : kLengths) {
      at::Tensor tensor = OnDevice(SmallIntegers(rank(), {length}, dtype));
      comm().AllReduce(tensor, ReduceOp::kMax);
      ExpectEqual(tensor, EveryRanks({length}, dtype).amax(0));
    }
  }
}

TEST_P(Collectives, AllGatherStacksShardsInRankOrder) {
  for (const auto dtype : kDtypes) {
    for (const int64_t length : kLengths) {
      at::Tensor output = Empty({size() * length, 3}, dtype);
      comm().AllGather(OnDevice(SmallIntegers(rank(), {length, 3}, dtype)), output);
      ExpectEqual(output, EveryRanks({length, 3}, dtype).reshape({size() * length, 3}));
    }
  }
}

TEST_P(Collectives, ReduceScatterLeavesThisRanksRowsOfTheSum) {
  for (const auto dtype : kDtypes) {
    for (const int64_t length : kLengths) {
      at::Tensor output = Empty({length, 3}, dtype);
      comm().ReduceScatter(OnDevice(SmallIntegers(rank(), {size() * length, 3}, dtype)), output);
      const at::Tensor sum = EveryRanks({size() * length, 3}, dtype).to(at::kDouble).sum(0);
      ExpectEqual(output, sum.narrow(0, rank() * length, length).to(dtype));
    }
  }
}

// Rows for rank `to` of what rank `from` has: from none to many, not the same both ways.
int64_t RowsBetween(int from, int to, int64_t scale) { return (3 * from + 5 * to) % 4 * scale; }

TEST_P(Collectives, AllToAllGivesEachRankItsRowsInRankOrder) {
  for (const auto dtype : kDtypes) {
    for (const int64_t scale : {0, 1, 20001}) {
      std::vector<int64_t> sent, received;
      std::vector<at::Tensor> mine, want;
      for (int p = 0; p < size(); ++p) {
        sent.push_back(RowsBetween(rank(), p, scale));
        received.push_back(RowsBetween(p, rank(), scale));
        mine.push_back(SmallIntegers(100 * rank() + p, {sent.back(), 3}, dtype));
        want.push_back(SmallIntegers(100 * p + rank(), {received.back(), 3}, dtype));
      }
      const at::Tensor whole = at::cat(want);
      at::Tensor output = Empty(whole.sizes(), dtype);
      const int64_t before = comm().traffic().wire_bytes;
      comm().AllToAll(OnDevice(at::cat(mine)), output, sent, received);
      ExpectEqual(output, whole);
      int64_t rows = 0;
      for (int p = 0; p < size(); ++p) rows += p == rank() ? 0 : sent[static_cast<size_t>(p)];
      EXPECT_EQ(comm().traffic().wire_bytes - before, rows * 3 * whole.element_size());
    }
  }
}

// Rows of one number each, as shares are; beside other operations that are under way.
TEST_P(Collectives, AllToAllOfNothingToOneRankIsNoneTheLessOneForAll) {
  const std::vector<int64_t> none(static_cast<size_t>(size()), 0);
  std::vector<int64_t> to_last = none, from_all = none;
  to_last.back() = 2;
  if (rank() == size() - 1) from_all.assign(from_all.size(), 2);
  at::Tensor reduced = OnDevice(SmallIntegers(rank(), {5}, at::kLong));
  auto reduce = comm().AllReduceAsync(reduced);
  at::Tensor output = Empty({rank() == size() - 1 ? 2 * size() : 0}, at::kFloat);
  comm().AllToAll(OnDevice(at::full({2}, rank(), at::kFloat)), output, to_last, from_all);
  reduce->Wait();
  ExpectEqual(reduced, EveryRanks({5}, at::kLong).sum(0));
  if (rank() == size() - 1) {
    ExpectEqual(output, at::arange(size(), at::kFloat).repeat_interleave(2));
  }
}

TEST_P(Collectives, SendReachesTheNextRankOfARing) {
  if (size() == 1) return;  // nobody to send to; the check is TalkingToOneselfIsRefused
  const int next = (rank() + 1) % size(), previous = (rank() + size() - 1) % size();
  for (const auto dtype : kDtypes) {
    for (const int64_t length : kLengths) {
      at::Tensor received = Empty({length}, dtype);
      const at::Tensor sent = OnDevice(SmallIntegers(rank(), {length}, dtype));
      // The lowest rank opens the ring; the others receive before they send.
      if (rank() == 0) comm().Send(sent, next);
      comm().Recv(received, previous);
      if (rank() != 0) comm().Send(sent, next);
      ExpectEqual(received, SmallIntegers(previous, {length}, dtype));
    }
  }
}

TEST_P(Collectives, MessagesBetweenTwoRanksArriveInTheOrderSent) {
  if (size() == 1) return;  // as above
  constexpr int kMessages = 20;
  if (rank() == 0) {
    std::vector<std::unique_ptr<Work>> works;
    for (int i = 0; i < kMessages; ++i) {
      works.push_back(comm().SendAsync(OnDevice(at::full({1 + i * 5000}, i, at::kLong)), 1));
    }
    for (auto& work : works) work->Wait();
  } else if (rank() == 1) {
    for (int i = 0; i < kMessages; ++i) {
      at::Tensor received = Empty({1 + i * 5000}, at::kLong);
      comm().RecvAsync(received, 0)->Wait();
      ExpectEqual(received, at::full({1 + i * 5000}, i, at::kLong));
    }
  }
}

TEST_P(Collectives, AsyncOperationsGiveTheBlockingOnesBits) {
  const int64_t length = 30011;
  const at::Tensor mine = Gaussian(rank(), {size() * length}, at::kBFloat16);
  at::Tensor scattered = Empty({length}, at::kBFloat16);
  at::Tensor gathered = Empty({size() * size() * length}, at::kBFloat16);
  auto scatter = comm().ReduceScatterAsync(OnDevice(mine), scattered);
  auto gather = comm().AllGatherAsync(OnDevice(mine), gathered);
  // Other operations may run in between, and ranks may wait in any order.
  at::Tensor reduced = OnDevice(mine), scattered_again = Empty({length}, at::kBFloat16);
  at::Tensor reduced_apart = OnDevice(mine);
  auto reduce = comm().AllReduceAsync(reduced_apart);
  comm().AllReduce(reduced);
  if (rank() % 2 == 0) {
    scatter->Wait();
    reduce->Wait();
    gather->Wait();
  } else {
    reduce->Wait();
    gather->Wait();
    scatter.reset();  // dropping waits
  }
  comm().ReduceScatter(OnDevice(mine), scattered_again);
  ExpectEqual(scattered, scattered_again.to(at::kCPU));
  ExpectEqual(reduced_apart, reduced.to(at::kCPU));
  ExpectEqual(gathered.narrow(0, rank() * size() * length, size() * length), mine);
}

TEST_P(Collectives, EveryRankReceivesTheSameBits) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    at::Tensor tensor = OnDevice(Gaussian(rank(), {10007}, dtype));
    at::Tensor of_all = Empty({size() * 10007}, dtype);
    comm().AllReduce(tensor);
    comm().AllGather(tensor, of_all);
    ExpectEqual(tensor, of_all.narrow(0, 0, 10007).to(at::kCPU));
  }
}

TEST_P(Collectives, InPlaceFormsEqualTheOthers) {
  at::Tensor whole = Empty({size() * 5, 2}, at::kFloat);
  at::Tensor own = whole.narrow(0, rank() * 5, 5);
  own.copy_(SmallIntegers(rank(), {5, 2}, at::kFloat));
  comm().AllGather(own, whole);
  ExpectEqual(whole, EveryRanks({5, 2}, at::kFloat).reshape({size() * 5, 2}));

  whole.copy_(SmallIntegers(rank(), {size() * 5, 2}, at::kFloat));
  comm().ReduceScatter(whole, own);
  ExpectEqual(own, EveryRanks({size() * 5, 2}, at::kFloat).sum(0).narrow(0, rank() * 5, 5));
}

TEST_P(Collectives, WireBytesFollowTheClosedForm) {
  const int64_t n = size(), b = 24;  // bytes of a shard of 6 floats
  at::Tensor whole = Empty({n * 6}, at::kFloat), shard = Empty({6}, at::kFloat);
  auto expect_sent = [&, sent = int64_t{0}, calls = int64_t{0}](int64_t bytes) mutable {
    sent += n == 1 ? 0 : bytes;
    calls += n == 1 ? 0 : 1;
    EXPECT_EQ(comm().traffic().wire_bytes, sent);
    EXPECT_EQ(comm().traffic().calls, calls);
  };
  comm().AllReduce(whole);
  expect_sent(2 * (n - 1) * b);
  comm().AllGather(shard, whole);
  expect_sent((n - 1) * b);
  comm().ReduceScatter(whole, shard);
  expect_sent((n - 1) * b);
  comm().ReduceScatterAsync(whole, shard)->Wait();
  expect_sent((n - 1) * b);
}

TEST_P(Collectives, AxesOfTheSameRanksDoNotMix) {
  // Two axes in flight at once: pairs of neighbours, and the whole world.
  auto pair = Create(TestProcess().rank() / 2);
  const at::Tensor mine = at::full({1}, rank(), at::TensorOptions(device_).dtype(at::kLong));
  at::Tensor ranks = Empty({size()}, at::kLong), of_pair = Empty({pair->size()}, at::kLong);
  auto world_work = comm().AllGatherAsync(mine, ranks);
  auto pair_work = pair->AllGatherAsync(mine, of_pair);
  pair_work->Wait();
  world_work->Wait();
  ExpectEqual(ranks, at::arange(size()));
  ExpectEqual(of_pair, at::arange(pair->size()) + rank() / 2 * 2);
}

// What the first non-empty look from another thread shows.
std::vector<std::string> SeenDuring(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::string> seen;
  std::thread looks([&seen, end = Clock::now() + std::chrono::seconds(20)] {
    while (seen.empty() && Clock::now() < end) {
      seen = TestProcess().activity().Look().waits_for;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  work();
  looks.join();
  return seen;
}

// Over NCCL the device waits, over MPI the host.
TEST_P(Collectives, TellWhatThisRankWaitsFor) {
  std::string ranks = "0";
  for (int r = 1; r < size(); ++r) absl::StrAppend(&ranks, ", ", r);
  const auto reduce = [&] {
    comm().AllReduce(Empty({4}, at::kFloat));
    SynchronizeDevice(device_);
  };
  comm().Barrier();
  if (rank() > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    reduce();
  } else if (size() > 1) {
    const std::vector<std::string> seen = SeenDuring(reduce);
    EXPECT_FALSE(seen.empty());
    const std::string begin = absl::StrCat("all_reduce of float32[tp of ranks ", ranks, "], call ");
    EXPECT_THAT(seen, testing::Each(testing::AllOf(testing::StartsWith(begin),
                                                   testing::EndsWith(", 16 bytes"))));
  }
  const Activity::State after = TestProcess().activity().Look();
  EXPECT_THAT(after.waits_for, testing::IsEmpty());
  EXPECT_EQ(after.error, "");
}

// CPU ranks of one host, whose blocking calls go through shared memory.
class InSharedMemory : public Collectives {};
#if !defined(FTTRAIN_TEST_NCCL) && !defined(FTTRAIN_TEST_CUDA)
INSTANTIATE_TEST_SUITE_P(Over, InSharedMemory,
                         ::testing::Values(Kind{"MpiCpu", CreateMpiCommunicator, DeviceKind::kCpu}),
                         [](const auto& kind) { return std::string(kind.param.name); });
#else
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(InSharedMemory);
#endif

// Of as many bytes: where blocking calls go through shared memory each rank says in which the other
// is, and the next operation works again.
TEST_P(InSharedMemory, RanksInDifferentOperationsSayInWhich) {
  using ::testing::HasSubstr;
  const bool other = rank() == size() - 1;
  if (size() == 1) {  // no other rank is in another operation
    EXPECT_NO_THROW(comm().AllReduce(at::ones({3})));
    return;
  }
  EXPECT_THAT([&] { comm().AllReduce(other ? Empty({8}, at::kBFloat16) : Empty({4}, at::kFloat)); },
              testing::ThrowsMessage<CommError>(HasSubstr(
                  other ? "is in another operation: in all_reduce of float32, 16 bytes where "
                          "this one is in all_reduce of bfloat16, 16 bytes"
                        : "is in another operation: in all_reduce of bfloat16, 16 bytes")));
  comm().Barrier();
  EXPECT_THROW(comm().AllReduce(at::zeros({2}), other ? ReduceOp::kMax : ReduceOp::kSum),
               CommError);
  const at::Tensor ones = at::ones({3});
  comm().AllReduce(ones);
  EXPECT_EQ(ones[0].item<float>(), size());
}

TEST_P(Collectives, BarrierReturnsOnEveryRank) { comm().Barrier(); }

TEST_P(Collectives, WrongTensorsAreRefusedBeforeAnythingIsSent) {
  using ::testing::HasSubstr;
  using ::testing::ThrowsMessage;
  EXPECT_THAT(
      [&] {
        comm().AllReduce(Empty({4, 4}, at::kFloat).t());
      },
      ThrowsMessage<c10::Error>(HasSubstr("not contiguous")));
  EXPECT_THAT([&] { comm().AllReduce(Empty({4}, at::kShort)); },
              ThrowsMessage<c10::Error>(HasSubstr("dtype Short")));
  EXPECT_THAT(
      [&] {
        comm().AllGather(Empty({3, 2}, at::kFloat), Empty({size() * 3 + 1, 2}, at::kFloat));
      },
      ThrowsMessage<c10::Error>(HasSubstr("times [3, 2]")));
  std::vector<int64_t> rows(static_cast<size_t>(size()), 1);
  EXPECT_THAT(
      [&] {
        comm().AllToAll(Empty({size() + 1, 2}, at::kFloat), Empty({size(), 2}, at::kFloat), rows,
                        rows);
      },
      ThrowsMessage<c10::Error>(HasSubstr("the input of sizes")));
  EXPECT_THAT(
      [&] {
        comm().AllToAll(Empty({size(), 2}, at::kFloat), Empty({size(), 3}, at::kFloat), rows, rows);
      },
      ThrowsMessage<c10::Error>(HasSubstr("all_to_all: input")));
  EXPECT_THAT([&] { comm().ReduceScatter(Empty({size() * 3}, at::kFloat), Empty({3}, at::kLong)); },
              ThrowsMessage<c10::Error>(HasSubstr("shard Long")));
  EXPECT_EQ(comm().traffic().calls, 0);
}

TEST_P(Collectives, TalkingToOneselfIsRefused) {
  EXPECT_THROW(comm().Send(Empty({4}, at::kFloat), rank()), c10::Error);
  EXPECT_THROW(comm().Recv(Empty({4}, at::kFloat), size()), c10::Error);
}

TEST_P(Collectives, SmallFloatsAreAccumulatedInFloat32) {
  if (GetParam().backend == CreateNcclCommunicator) return;  // the ring's order is NCCL's own
  // 256 + 1 is 256 in bfloat16, so adding ones one by one would get nowhere.
  at::Tensor tensor = OnDevice(at::full({9}, rank() == 0 ? 256 : 1, at::kBFloat16));
  comm().AllReduce(tensor);
  ExpectEqual(tensor, at::full({9}, 256.0 + (size() - 1), at::kFloat).to(at::kBFloat16));
}

TEST_P(Collectives, SumsAreMadeInRankOrder) {
  if (GetParam().backend == CreateNcclCommunicator) return;  // the ring's order is NCCL's own
  for (const auto dtype : kDtypes) {
    const auto wide = at::isReducedFloatingType(dtype) ? at::kFloat : dtype;
    at::Tensor want = Gaussian(0, {5003}, dtype).to(wide);
    for (int r = 1; r < size(); ++r) want = want + Gaussian(r, {5003}, dtype).to(wide);
    at::Tensor tensor = OnDevice(Gaussian(rank(), {5003}, dtype));
    comm().AllReduce(tensor);
    ExpectEqual(tensor, want.to(dtype));
  }
}

const Kind kKinds[] = {
#if defined(FTTRAIN_TEST_NCCL)
    {"Nccl", CreateNcclCommunicator, DeviceKind::kCuda},
#elif defined(FTTRAIN_TEST_CUDA)
    {"MpiCuda", CreateMpiCommunicator, DeviceKind::kCuda},
#else
    {"MpiCpu", CreateMpiCommunicator, DeviceKind::kCpu},
    {"MpiCpuApart", CreateMpiCommunicator, DeviceKind::kCpu, /*shares_memory=*/false},
#endif
};
INSTANTIATE_TEST_SUITE_P(Over, Collectives, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST(SelfCommunicator, CopiesWhereInputAndOutputDifferAndCountsNothing) {
  const auto self = MakeSelfCommunicator("dp");
  const at::Tensor input = at::arange(6, at::kFloat);
  at::Tensor output = at::zeros({6});
  self->AllGather(input, output);
  EXPECT_TRUE(at::equal(input, output));
  output.zero_();
  self->ReduceScatterAsync(input, output)->Wait();
  EXPECT_TRUE(at::equal(input, output));
  self->AllReduce(output);
  self->AllReduceAsync(output)->Wait();
  EXPECT_TRUE(at::equal(input, output));
  output.zero_();
  self->AllToAll(input, output, {6}, {6});
  EXPECT_TRUE(at::equal(input, output));
  EXPECT_EQ(self->traffic().calls, 0);
  EXPECT_EQ(self->traffic().wire_bytes, 0);
}

// A killed process leaves names behind, and its number is given to another.
TEST(SharedSegment, PassesOverNamesThatAreTaken) {
  std::vector<std::string> taken;
  for (int number = 1; number <= 1000 && TestProcess().rank() == 0; ++number) {
    taken.push_back(absl::StrCat("/fttrain-", getpid(), "-", number));
    const int file = shm_open(taken.back().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    EXPECT_GE(file, 0) << taken.back();
    close(file);
  }
  EXPECT_NE(SharedSegment::Create(WorldOf(TestProcess()), 64), nullptr);
  for (const std::string& name : taken) EXPECT_EQ(shm_unlink(name.c_str()), 0) << name;
}

}  // namespace
}  // namespace fttrain
