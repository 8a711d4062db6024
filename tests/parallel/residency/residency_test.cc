#include "parallel/residency/residency.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>

#include <string>

#include "parallel/pipeline/schedule.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
constexpr auto F = Visit::Pass::kForward;
constexpr auto B = Visit::Pass::kBackward;

class Recording : public Resident {
 public:
  void Await(const Visit& visit) override { calls.push_back("await " + ToString({visit})); }
  void Start(const Visit&, std::span<const Visit> following) override {
    calls.push_back("then " + ToString(std::vector<Visit>(following.begin(), following.end())));
  }
  void Done(const Visit& visit) override { calls.push_back("done " + ToString({visit})); }
  void Abort() override { calls.push_back("abort"); }
  std::vector<std::string> calls;
};

std::vector<Visit> OneLayerForwardAndBack() {
  return VisitsOf(OneForwardOneBackward(0, 1, 1), {{2, 3, false, false}}, false);
}

TEST(Residency, AwaitsEachVisitAndSaysWhatFollows) {
  Recording resident;
  Residency residency;
  residency.Add(resident);
  residency.Begin(OneLayerForwardAndBack());
  residency.Enter(2, F, 0);
  residency.Leave();
  residency.Enter(2, B, 0);
  residency.Leave();
  EXPECT_THAT(resident.calls, ElementsAre("await (2.f0", "then 2.b0)", "done (2.f0", "await 2.b0)",
                                          "then ", "done 2.b0)"));
}

TEST(Residency, RefusesWorkThatDoesNotFollowTheList) {
  Residency residency;
  residency.Begin(OneLayerForwardAndBack());
  EXPECT_THROW(residency.Enter(2, B, 0), c10::Error);
  EXPECT_THROW(residency.Enter(1, F, 0), c10::Error);
  EXPECT_THROW(residency.Leave(), c10::Error);
  residency.Enter(2, F, 0);
  EXPECT_THROW(residency.Enter(2, B, 0), c10::Error) << "the first visit is still open";
  residency.Leave();
  residency.Enter(2, B, 0);
  residency.Leave();
  EXPECT_THROW(residency.Enter(2, F, 1), c10::Error) << "after the last";
}

TEST(Residency, BeginsALaterListOnlyAfterTheEndOfTheOneBeforeOrItsAbort) {
  Recording resident;
  Residency residency;
  residency.Add(resident);
  residency.Begin(OneLayerForwardAndBack());
  EXPECT_THROW(residency.Begin(OneLayerForwardAndBack()), c10::Error) << "not begun to walk";
  residency.Enter(2, F, 0);
  EXPECT_THROW(residency.Begin(OneLayerForwardAndBack()), c10::Error) << "a visit is open";
  residency.Leave();
  EXPECT_THROW(residency.Begin(OneLayerForwardAndBack()), c10::Error) << "a visit is left";
  resident.calls.clear();
  residency.Abort();
  EXPECT_THAT(resident.calls, ElementsAre("abort"));
  residency.Begin(OneLayerForwardAndBack());
  for (const Visit::Pass pass : {F, B}) {
    residency.Enter(2, pass, 0);
    residency.Leave();
  }
  resident.calls.clear();
  residency.Abort();
  EXPECT_THAT(resident.calls, ElementsAre()) << "nothing was left";
  residency.Begin(OneLayerForwardAndBack());
}

}  // namespace
}  // namespace fttrain
