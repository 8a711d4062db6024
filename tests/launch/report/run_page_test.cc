#include "launch/report/run_page.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>

#include "runtime/files/whole_file.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

StepMetrics Step(int64_t step, double loss) {
  StepMetrics metrics;
  metrics.step = step;
  metrics.loss = loss;
  metrics.grad_norm = 1;
  metrics.learning_rate = 1e-4;
  metrics.tokens = 1000;
  metrics.seconds = 0.5;
  metrics.peak_bytes = int64_t{1} << 30;
  metrics.phases[Phase::kForward] = 0.1;
  metrics.phases[Phase::kBackward] = 0.3;
  return metrics;
}

RunPageHead Head(int64_t steps) { return {"runs/a <b>", "mesh 1 rank", "output_dir: a", steps}; }

TEST(RunPage, ShowsEveryCurveTheLayoutTheConfigAndWhereTimeWent) {
  RunCurves curves;
  for (int i = 1; i <= 10; ++i) curves.Add(Step(i, 3.0 / i));
  curves.Add(5, HeldOutLoss{.loss = 2.5});
  curves.Add(10, HeldOutLoss{.loss = 2.25});
  const std::string page = RunPageText(Head(40), curves, {}, /*done=*/false);
  for (const char* part :
       {"<figcaption>loss", "train 0.3<", "held out 2.25<", "<figcaption>learning rate",
        "<figcaption>gradient norm", "<figcaption>speed", "tokens/s 2000", "<figcaption>memory",
        "forward 25.0%", "backward 75.0%", "mesh 1 rank", "output_dir: a", "runs/a &lt;b&gt;",
        "step 10 of 40, 0:05 of training, about 0:15 to go", "http-equiv=\"refresh\""}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("<script")));
}

TEST(RunPage, OfARunThatHasEndedIsNotReadAgain) {
  RunCurves curves;
  curves.Add(Step(1, 1));
  const std::string page = RunPageText(Head(1), curves, {}, /*done=*/true);
  EXPECT_THAT(page, HasSubstr("it is done"));
  EXPECT_THAT(RunPageText(Head(2), curves, {}, true), HasSubstr("the run is not going on"));
  EXPECT_THAT(page, Not(HasSubstr("refresh")));
}

TEST(RunPage, OfThirtyThousandStepsIsSmall) {
  RunCurves curves;
  for (int i = 1; i <= 30000; ++i) curves.Add(Step(i, 2 + std::sin(i)));
  EXPECT_LT(RunPageText(Head(30000), curves, {}, true).size(), size_t{200} << 10);
}

TEST(RunPage, WithoutAStepOrWithLossesThatAreNotFiniteIsAPageAllTheSame) {
  RunCurves curves;
  EXPECT_THAT(RunPageText(Head(3), curves, {}, false), HasSubstr("step 0 of 3"));
  curves.Add(Step(1, std::nan("")));
  curves.Add(Step(2, 1.5));
  const std::string page = RunPageText(Head(3), curves, {}, false);
  EXPECT_THAT(page, HasSubstr("train 1.5"));
  EXPECT_THAT(page, Not(HasSubstr("nan,")));
}

TEST(RunPage, GoesOnFromTheLinesOfAnEarlierStart) {
  RunCurves curves;
  curves.Add(ToJsonLine(Step(1, 3)));
  curves.Add(ToJsonLine(1, HeldOutLoss{.loss = 2.5}));
  curves.Add("torn {");
  ASSERT_EQ(curves.loss.y, std::vector<double>{3});
  EXPECT_EQ(curves.eval_loss.y, std::vector<double>{2.5});
  EXPECT_EQ(curves.tokens_per_second.y, std::vector<double>{2000});
  EXPECT_EQ(curves.phases[Phase::kBackward], 0.3);
}

TEST(RunPage, OfWhatWasNotFiniteHasAGapAlsoAfterAnotherStart) {
  RunCurves curves;
  curves.Add(R"({"step": 1, "loss": null, "seconds": 1})");
  curves.Add(R"({"step": 1, "eval_loss": null})");
  EXPECT_TRUE(std::isnan(curves.loss.y.at(0)));
  EXPECT_TRUE(std::isnan(curves.eval_loss.y.at(0)));
}

TEST(RunPage, ShowsWhatWasSaidFirstAndLast) {
  ShownSamples samples;
  samples.Add(2, 0, {"What is <b>?", "early"});
  samples.Add(4, 0, {"What is <b>?", "midway"});
  samples.Add(ToJsonLine(6, 0, {"What is <b>?", "late & whole", true}));
  samples.Add(R"({"step": 6, "sample": -1, "prompt": "a", "answer": "none of ours"})");
  samples.Add("torn {");
  const std::string page = RunPageText(Head(6), {}, samples, true);
  for (const char* part :
       {"What is &lt;b&gt;?", "step 2</td><td>early", "step 6</td><td>late &amp; whole"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("midway")));
  EXPECT_THAT(page, Not(HasSubstr("none of ours")));
  EXPECT_THAT(RunPageText(Head(6), {}, {}, true), Not(HasSubstr("same prompts")));
}

TEST(RunPage, OfVeryLongAnswersShowsTheBeginning) {
  EXPECT_EQ(Beginning("short", 5), "short");
  EXPECT_EQ(Beginning("a\u00e9", 2), "a...") << "whole characters";
  ShownSamples samples;
  for (size_t i = 0; i < 200; ++i) samples.Add(1, i, {"p", std::string(100000, 'x')});
  const std::string page = RunPageText(Head(1), {}, samples, true);
  EXPECT_LT(page.size(), size_t{200} << 10);
  EXPECT_THAT(page, HasSubstr("150 more are in samples.jsonl"));
}

TEST(SamplesFile, KeepsTheLinesOfStepsThatWereDone) {
  const TempFolder folder;
  const std::string path = folder.path() + "/samples.jsonl";
  {
    auto file = SamplesFile::Create(path, 0);
    ASSERT_TRUE(file.ok()) << file.status();
    for (const int64_t step : {2, 4}) {
      EXPECT_TRUE((*file)->OnSamples(step, {{"a", "\xff", false}, {"b", "c", true}}).ok());
    }
  }
  ASSERT_TRUE(SamplesFile::Create(path, 3).ok());
  const std::string text = *ReadFile(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_THAT(
      text, HasSubstr(R"({"step":2,"sample":1,"prompt":"b","answer":"c","finish_reason":"stop"})"));
}

TEST(RunPage, IsWrittenAtTheEndAndTellsOnceThatItCannotBe) {
  const TempFolder folder;
  const std::string path = folder.path() + "/report.html";
  {
    RunPage page(path, Head(1), folder.path() + "/metrics.jsonl", folder.path() + "/samples.jsonl");
    EXPECT_TRUE(page.OnStep(Step(1, 1)).ok());
  }
  EXPECT_THAT(*ReadFile(path), HasSubstr("it is done"));
  RunPage nowhere(folder.path() + "/no/folder/report.html", Head(1), "", "");
  EXPECT_TRUE(nowhere.OnStep(Step(1, 1)).ok());
}

}  // namespace
}  // namespace fttrain
