#include "runtime/process/process.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "runtime/process/status_payload.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

const Process& Us() { return TestProcess(); }

// Of the rank that failed; rank 0, which reports, needs no name.
std::string From(int rank, const std::string& message) {
  return rank == 0 ? message : absl::StrCat("rank ", rank, " on host ", Us().host(), ": ", message);
}

TEST(Process, KnowsItsPlaceInTheWorldAndOnItsHost) {
  EXPECT_GE(Us().rank(), 0);
  EXPECT_LT(Us().rank(), Us().world_size());
  // The test runs on one host.
  EXPECT_EQ(Us().local_rank(), Us().rank());
  EXPECT_EQ(Us().local_size(), Us().world_size());
}

TEST(FirstRanks, FormAWorldOfTheirOwn) {
  for (int ranks = 1; ranks <= Us().world_size(); ++ranks) {
    const auto part = Us().FirstRanks(ranks);
    ASSERT_TRUE(part.ok()) << part.status();
    ASSERT_EQ(*part == nullptr, Us().rank() >= ranks);
    if (*part == nullptr) continue;
    EXPECT_EQ((*part)->rank(), Us().rank());
    EXPECT_EQ((*part)->world_size(), ranks);
    EXPECT_EQ((*part)->local_size(), ranks);
    // The others take no part: nobody waits for them.
    EXPECT_FALSE((*part)->AnyRank(false));
    EXPECT_EQ((*part)->BroadcastString(absl::StrCat("of ", Us().rank())), "of 0");
  }
}

TEST(IdleBarrier, KeepsEveryRankUntilTheLastHasCome) {
  Us().Barrier();
  const auto start = std::chrono::steady_clock::now();
  if (Us().rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  Us().IdleBarrier();
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  EXPECT_GT(waited.count(), Us().rank() == 0 ? 0.1 : 0.05);
}

TEST(AgreeOnStatus, IsOkIfAllRanksAreOk) {
  EXPECT_EQ(Us().AgreeOnStatus(absl::OkStatus()), absl::OkStatus());
}

TEST(AgreeOnStatus, GivesTheFailureOfOneRankToAll) {
  for (int failing = 0; failing < Us().world_size(); ++failing) {
    const absl::Status local =
        Us().rank() == failing ? absl::NotFoundError("shard 3 is missing") : absl::OkStatus();
    const absl::Status agreed = Us().AgreeOnStatus(local);
    EXPECT_EQ(agreed.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(agreed.message(), From(failing, "shard 3 is missing"));
  }
}

TEST(AgreeOnStatus, KeepsPayloadsAndSaysWhereItArose) {
  const int last = Us().world_size() - 1;
  absl::Status local;
  if (Us().rank() == last) {
    local = absl::InternalError("the disk is full");
    local.SetPayload("a kind", absl::Cord("75"));
  }
  const absl::Status agreed = Us().AgreeOnStatus(local);
  ASSERT_TRUE(agreed.GetPayload("a kind"));
  EXPECT_EQ(*agreed.GetPayload("a kind"), "75");
  const std::optional<Origin> origin = OriginOf(agreed);
  ASSERT_TRUE(origin);
  EXPECT_EQ(origin->rank, last);
  EXPECT_EQ(origin->host, Us().host());
  EXPECT_EQ(origin->pid == getpid(), Us().rank() == last);
  // What was agreed on before arose where it did then, although rank 0 tells it now.
  const absl::Status again = Us().AgreeOnStatus(agreed);
  EXPECT_EQ(again, agreed);
}

TEST(AgreeOnStatus, PrefersTheLowestFailingRank) {
  // All ranks but 0 fail, each with its own code and message; alone, rank 0 fails.
  const int lowest = Us().world_size() > 1 ? 1 : 0;
  const auto failure = [](int rank) {
    return absl::Status(rank == 1 ? absl::StatusCode::kDataLoss : absl::StatusCode::kInternal,
                        absl::StrCat("reason of ", rank));
  };
  const absl::Status local = Us().rank() >= lowest ? failure(Us().rank()) : absl::OkStatus();
  const absl::Status want = failure(lowest);
  const absl::Status agreed = Us().AgreeOnStatus(local);
  EXPECT_EQ(agreed.code(), want.code());
  EXPECT_EQ(agreed.message(), From(lowest, std::string(want.message())));
}

TEST(AgreeOnStatus, CarriesEmptyAndLongMessages) {
  const int last = Us().world_size() - 1;
  for (const size_t length : {size_t{0}, size_t{1000000}}) {
    const std::string message(length, 'x');
    const absl::Status local = Us().rank() == last ? absl::AbortedError(message) : absl::OkStatus();
    const absl::Status agreed = Us().AgreeOnStatus(local);
    EXPECT_EQ(agreed.code(), absl::StatusCode::kAborted);
    EXPECT_EQ(agreed.message(), From(last, message));
  }
}

TEST(BroadcastString, GivesRankZerosBytesToAll) {
  using namespace std::string_literals;
  for (const std::string& text : {""s, "a\0b"s, std::string(3000000, 'y')}) {
    EXPECT_EQ(Us().BroadcastString(Us().rank() == 0 ? text : "something else"), text);
  }
}

}  // namespace
}  // namespace fttrain
