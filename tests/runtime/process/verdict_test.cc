// Who is to blame, from a table of what ranks are seen to do.
#include "runtime/process/verdict.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Process = RankSeen::Process;
using Phase = RankSeen::Phase;

// One that waits in `operations` for 10 s; none: that works.
RankSeen In(int rank, std::vector<std::string> operations = {}) {
  return {.rank = rank,
          .pid = 1000 + rank,
          .step = 37,
          .silent_seconds = 0.1,
          .still_seconds = 10,
          .operations = std::move(operations)};
}

std::string VerdictOf(const std::vector<RankSeen>& ranks, int world_size = 4) {
  return Verdict(ranks, "h", world_size);
}

const char* const kTp = "all_reduce[tp of ranks 0, 1], 4096 bytes";

TEST(Operation, IsReadFromItsText) {
  const Operation recv =
      ParseOperation("recv[gradients between stages 0 and 1 of ranks 5, 4] with rank 4, 96 bytes");
  EXPECT_EQ(recv.name, "recv");
  EXPECT_EQ(recv.over, "gradients between stages 0 and 1 of ranks 5, 4");
  EXPECT_THAT(recv.ranks, ElementsAre(5, 4));
  EXPECT_EQ(recv.peer, 4);
  EXPECT_EQ(recv.bytes, 96);
  EXPECT_TRUE(recv.Needs(4));
  EXPECT_FALSE(recv.Needs(5));

  EXPECT_EQ(ParseOperation("all_reduce[tp of ranks 0, 1], call 12, 8 bytes").call, 12);
  const Operation reduce = ParseOperation(kTp);
  EXPECT_EQ(reduce.peer, -1);
  EXPECT_TRUE(reduce.Needs(1));
  EXPECT_FALSE(reduce.Needs(2));
}

TEST(Operation, OverMoreRanksThanItNamesNeedsAny) {
  EXPECT_TRUE(ParseOperation("agreement[all ranks]").Needs(7));
  EXPECT_TRUE(ParseOperation("all_reduce[dp of 16 ranks 0, 1, 2, 3, 4, 5, 6, 7, ...]").Needs(15));
  EXPECT_TRUE(ParseOperation("something else").Needs(3));
}

TEST(Verdict, NamesAProcessThatIsGoneBeforeAllOthers) {
  RankSeen gone = In(1), stopped = In(2);
  gone.process = Process::kGone;
  gone.last = kTp;
  gone.last_seconds = 10.24;
  stopped.process = Process::kStopped;
  const std::vector<RankSeen> ranks = {In(0, {kTp}), gone, stopped};
  EXPECT_EQ(VerdictOf(ranks),
            "rank 1 (host h, pid 1001) is to blame: its process is gone, last seen in "
            "all_reduce[tp of ranks 0, 1], 4096 bytes 10.2 s ago");
  EXPECT_EQ(GoneRanks(ranks, "h"), VerdictOf(ranks));
}

TEST(Verdict, LeavesARankAloneThatLeftOrSaidWhyItEnds) {
  RankSeen left = In(1), told = In(2);
  left.process = told.process = Process::kGone;
  left.phase = Phase::kLeft;
  told.has_told = true;
  EXPECT_EQ(GoneRanks({In(0, {kTp}), left, told}, "h"), "");
  EXPECT_THAT(VerdictOf({In(0, {kTp}), told}), HasSubstr("rank 2 (host h, pid 1002) is to blame: "
                                                         "its process has ended, and said why"));
}

TEST(Verdict, NamesAStoppedProcess) {
  RankSeen stopped = In(1);
  stopped.process = Process::kStopped;
  stopped.last = kTp;
  EXPECT_THAT(VerdictOf({In(0, {kTp}), stopped, In(2)}),
              StartsWith("rank 1 (host h, pid 1001) is to blame: process stopped (signal or "
                         "debugger), last seen in all_reduce[tp of ranks 0, 1]"));
}

// As one that was stopped while it waited, or whose driver does not answer.
TEST(Verdict, NamesARankWithoutAHeartbeatThoughItIsInTheOperation) {
  RankSeen silent = In(1, {kTp});
  silent.silent_seconds = 9.5;
  EXPECT_THAT(VerdictOf({In(0, {kTp}), silent}),
              HasSubstr("rank 1 (host h, pid 1001) is to blame: no heartbeat for 9.5 s"));
  silent.silent_seconds = 1;
  EXPECT_THAT(VerdictOf({In(0, {kTp}), silent}), HasSubstr("is to blame: each waits for another"));
}

TEST(Verdict, NamesTheRankThatWorksWhileOthersWaitForIt) {
  RankSeen reads = In(1);
  reads.process = Process::kSleeps;
  reads.still_seconds = 12.3;
  reads.last = "agreement[all ranks]";
  reads.last_seconds = 12.5;
  EXPECT_EQ(VerdictOf({In(0, {kTp}), reads, In(2)}),
            "rank 1 (host h, pid 1001) is to blame: heartbeat alive, but in no operation for 12.3 "
            "s while rank 0 waits for it: in step 37 it computes, reads or writes (its main thread "
            "sleeps), "
            "last seen in agreement[all ranks] 12.5 s ago");
}

// Rank 3 computes; 2 waits for it, 1 waits for 3 too, and 0 for 2.
TEST(Verdict, FollowsThoseWhoWaitToTheOneWhoDoesNot) {
  EXPECT_THAT(VerdictOf({In(0, {"all_reduce[dp of ranks 0, 2], 8 bytes"}),
                         In(1, {"all_reduce[dp of ranks 1, 3], 8 bytes"}),
                         In(2, {"all_gather[tp of ranks 2, 3], 8 bytes"}), In(3)}),
              AllOf(StartsWith("rank 3 (host h, pid 1003) is to blame"),
                    HasSubstr("while ranks 1, 2 wait for it"), Not(HasSubstr("so is"))));
}

TEST(Verdict, LeavesAloneWhoGetsOn) {
  RankSeen busy = In(1);
  busy.still_seconds = 0.2;
  EXPECT_THAT(VerdictOf({In(0, {"agreement[all ranks]"}), busy, In(2)}),
              AllOf(StartsWith("rank 2 "), Not(HasSubstr("rank 1"))));
}

TEST(Verdict, SaysOfAPhaseThatItIsNoStep) {
  RankSeen other = In(1);
  other.phase = Phase::kBetweenSteps;
  EXPECT_THAT(VerdictOf({In(0, {kTp}), other}),
              HasSubstr("waits for it: after a part of step 37 it computes"));
  other.phase = Phase::kLeft;
  EXPECT_THAT(VerdictOf({In(0, {kTp}), other}), HasSubstr("it has ended its steps while rank 0"));
  other.phase = Phase::kNotBegun;
  EXPECT_THAT(VerdictOf({In(0, {kTp}), other}), HasSubstr("it has not begun its steps while"));
}

// Those of other hosts may wait for it.
TEST(Verdict, NamesARankThatStandsStillThoughNobodyHereWaitsForIt) {
  EXPECT_THAT(VerdictOf({In(0), In(1, {"recv[pp of ranks 1, 3] with rank 3, 8 bytes"})}),
              AllOf(StartsWith("rank 0 (host h, pid 1000) is to blame: heartbeat alive, but in no "
                               "operation for 10.0 s: in step 37 it computes"),
                    Not(HasSubstr("rank 1"))));
}

TEST(Verdict, NamesBothOfTwoThatWaitForEachOtherInDifferentOperations) {
  const std::string agreement = "agreement[all ranks]";
  EXPECT_EQ(VerdictOf({In(0, {kTp}), In(1, {agreement})}),
            "rank 0 (host h, pid 1000) and rank 1 (host h, pid 1001) are to blame: they wait for "
            "each other in different operations: rank 0 in all_reduce[tp of ranks 0, 1], 4096 "
            "bytes, rank 1 in agreement[all ranks]");
  for (const char* other :
       {"all_gather[tp of ranks 0, 1], 4096 bytes", "all_reduce[tp of ranks 0, 1], 4100 bytes",
        "all_reduce[sp of ranks 0, 1], 4096 bytes"}) {
    EXPECT_THAT(VerdictOf({In(0, {kTp}), In(1, {other})}), HasSubstr("different operations"))
        << other;
  }
  EXPECT_THAT(VerdictOf({In(0, {"recv[pp of ranks 0, 1] with rank 1, 8 bytes"}),
                         In(1, {"recv[pp of ranks 0, 1] with rank 0, 8 bytes"})}),
              HasSubstr("different operations"));
}

TEST(Verdict, TellsDtypesApart) {
  const std::string floats = "all_reduce of float32[tp of ranks 0, 1], call 7, 4096 bytes";
  const std::string halves = "all_reduce of bfloat16[tp of ranks 0, 1], call 7, 4096 bytes";
  EXPECT_THAT(VerdictOf({In(0, {floats}), In(1, {halves})}),
              HasSubstr("different operations: rank 0 in " + floats + ", rank 1 in " + halves));
  EXPECT_THAT(VerdictOf({In(0, {floats}), In(1, {floats})}), HasSubstr("that fit"));
  const auto message = [](const char* name, int peer) {
    return absl::StrCat(name, "[pp of ranks 0, 1] with rank ", peer, ", 8 bytes");
  };
  EXPECT_THAT(
      VerdictOf({In(0, {message("send of float32", 1)}), In(1, {message("recv of bfloat16", 0)})}),
      HasSubstr("in different operations"));
  EXPECT_THAT(
      VerdictOf({In(0, {message("send of float32", 1)}), In(1, {message("recv of float32", 0)})}),
      HasSubstr("that fit"));
}

// One of them has left a call out.
TEST(Verdict, TellsCallsOfOneKindApartByTheirNumbers) {
  const auto reduce = [](int call) {
    return absl::StrCat("all_reduce[tp of ranks 0, 1], call ", call, ", 4096 bytes");
  };
  EXPECT_THAT(VerdictOf({In(0, {reduce(128)}), In(1, {reduce(129)})}),
              HasSubstr("in different operations: rank 0 in " + reduce(128) + ", rank 1 in " +
                        reduce(129)));
  for (const std::string& other : {reduce(128), std::string(kTp)}) {
    EXPECT_THAT(VerdictOf({In(0, {reduce(128)}), In(1, {other})}), HasSubstr("that fit"));
  }
}

TEST(Verdict, SeesThatASenderAndItsReceiverFit) {
  EXPECT_THAT(VerdictOf({In(0, {"send[pp of ranks 0, 1] with rank 1"}),
                         In(1, {"recv[pp of ranks 0, 1] with rank 0, 8 bytes"})}),
              HasSubstr("no rank of this host (h: ranks 0, 1) is to blame"));
}

TEST(Verdict, SaysThatNoneWaits) {
  RankSeen rests = In(0), other = In(1);
  rests.phase = other.phase = Phase::kBetweenSteps;
  EXPECT_THAT(VerdictOf({rests, other}), HasSubstr("is to blame: none waits for another"));
}

// A device is in several at once.
TEST(Verdict, IsContentWithOneOperationThatFits) {
  EXPECT_THAT(VerdictOf({In(0, {"send[pp of ranks 0, 1] with rank 1, 8 bytes", kTp}),
                         In(1, {"all_gather[tp of ranks 0, 1], 2 bytes", kTp})}),
              HasSubstr("no rank of this host"));
}

TEST(Verdict, SaysWhoIsWaitedForOnOtherHosts) {
  EXPECT_EQ(VerdictOf({In(0, {"all_reduce[dp of ranks 0, 2], 8 bytes"}),
                       In(1, {"all_reduce[dp of ranks 1, 3], 8 bytes"})}),
            "no rank of this host (h: ranks 0, 1) is to blame: they wait for ranks 2, 3 of other "
            "hosts");
}

// Whoever looks sees the ranks in the order of the board; the verdict is the same line in any.
TEST(Verdict, NamesAtMostFourInOneLine) {
  std::vector<RankSeen> ranks = {In(0, {"agreement[all ranks]"})};
  for (int rank = 1; rank < 8; ++rank) ranks.push_back(In(rank));
  const std::string text = VerdictOf(ranks, 8);
  EXPECT_THAT(text, AllOf(HasSubstr("so is rank 4 "), HasSubstr("; so are 3 others"),
                          Not(HasSubstr("rank 5"))));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 0);
}

}  // namespace
}  // namespace fttrain
