// A run that goes on from a checkpoint: in the same layout the run that was not stopped, bit for
// bit; in every other one the same state, bit for bit, and the same training to rounding.
#include "launch/saving/resume.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "launch/run/rehearsal.h"
#include "launch/saving/saved_state.h"
#include "launch/saving/saver.h"
#include "launch/saving/state_kinds.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kStop = 2;

// A folder that all ranks see.
class SharedFolder {
 public:
  SharedFolder() {
    if (TestProcess().rank() == 0) folder_ = std::make_unique<TempFolder>();
    path_ = TestProcess().BroadcastString(folder_ == nullptr ? "" : folder_->path());
  }
  ~SharedFolder() { TestProcess().Barrier(); }
  const std::string& path() const { return path_; }

 private:
  std::unique_ptr<TempFolder> folder_;
  std::string path_;
};

TrainPlan PlanOf(const Task& task, const std::string& folder) {
  TrainPlan plan;
  plan.task = task;
  plan.output.folder = folder;
  plan.run.set_output_dir("out");
  return plan;
}

RunIdentity Identity() { return {{{"train.seed", "11"}}, {{"model", std::string(64, 'a')}}, 16}; }

struct Outcome {
  std::vector<StepMetrics> metrics;
  std::unique_ptr<Job> job;
};

Outcome Straight(const Task& task, const Layout& layout, int64_t steps) {
  Outcome run{{}, BuildTiny(task, layout)};
  Trainer trainer(*run.job);
  for (int64_t step = 0; step < steps; ++step) run.metrics.push_back(trainer.Step(step).value());
  return run;
}

Disk DiskOf(const TrainPlan& plan) { return FindDisk(plan.output.folder, TestProcess()).value(); }

std::string Save(Job& job, const TrainPlan& plan, int64_t steps_done) {
  const RunIdentity identity = Identity();
  Saver saver(job, plan, identity, RealFileSystem(), DiskOf(plan), TestProcess());
  const absl::Status begun = saver.Begin(steps_done);
  EXPECT_TRUE(begun.ok()) << begun;
  const absl::Status finished = saver.Finish();
  EXPECT_TRUE(finished.ok()) << finished;
  return plan.output.folder + "/checkpoints/step-" + std::to_string(steps_done);
}

Committed Found(TrainPlan plan, const std::string& path = "auto") {
  plan.output.resume = path;
  auto found = FindCheckpoint(plan, Identity(), RealFileSystem(), DiskOf(plan), TestProcess());
  EXPECT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found.ok() && found->has_value());
  return found.ok() && *found ? **std::move(found) : Committed{};
}

Outcome GoneOn(const Task& task, const Layout& layout, const Committed& checkpoint, int64_t steps) {
  Outcome run{{}, BuildTiny(task, layout)};
  const absl::Status read = GoOnFrom(checkpoint, *run.job, RealFileSystem(), TestProcess());
  EXPECT_TRUE(read.ok()) << read;
  Trainer trainer(*run.job);
  for (int64_t step = checkpoint.step; step < steps; ++step) {
    run.metrics.push_back(trainer.Step(step).value());
  }
  return run;
}

using Whole = std::map<std::pair<std::string, std::string>, at::Tensor>;  // by name and kind

StateKind KindOf(const std::string& word) {
  for (int kind = 0; kind <= static_cast<int>(StateKind::kExpAvgSqAbsmax); ++kind) {
    if (KindWord(static_cast<StateKind>(kind)) == word) return static_cast<StateKind>(kind);
  }
  ADD_FAILURE() << word;
  return StateKind::kMaster;
}

// The whole tensors that a checkpoint holds, put together by the reader.
Whole TensorsOf(const Committed& checkpoint) {
  SavedState saved(RealFileSystem(), checkpoint);
  Whole whole;
  for (const ManifestTensor& t : checkpoint.manifest.tensors) {
    at::Tensor& values = whole[{t.name, t.kind}];
    if (values.defined()) continue;
    const ParamSlice slice = WholeParam(t.name, t.global_shape);
    values = at::zeros({slice.GlobalNumel()}, t.dtype == "F64" ? at::kDouble : at::kFloat);
    const absl::Status read =
        saved.ReadInto({slice, {0, slice.GlobalNumel()}, KindOf(t.kind), values});
    EXPECT_TRUE(read.ok()) << read;
  }
  return whole;
}

void ExpectEqual(const Whole& got, const Whole& want, const std::string& what) {
  EXPECT_EQ(got.size(), want.size()) << what;
  for (const auto& [key, values] : want) {
    const auto found = got.find(key);
    ASSERT_NE(found, got.end()) << what << ": " << key.first << " " << key.second;
    EXPECT_TRUE(at::equal(found->second, values)) << what << ": " << key.first << " " << key.second;
  }
}

void ExpectSameBits(const StepMetrics& got, const StepMetrics& want, const std::string& what) {
  EXPECT_EQ(got.step, want.step) << what;
  EXPECT_EQ(got.loss, want.loss) << what;
  EXPECT_EQ(got.grad_norm, want.grad_norm) << what;
}

// Layouts of all ranks: sharded in every way, and laid out otherwise.
std::vector<Layout> Layouts() {
  const int world = TestProcess().world_size();
  std::vector<Layout> layouts = {
      {.mesh = {world, 1, 1}},
      {.mesh = {world, 1, 1}, .sequence_parallel = true, .state = StatePlace::kHost},
      {.mesh = {1, world, 1}},
      {.mesh = {1, 1, world}},
      {.mesh = {1, 1, world}, .zero_stage = 1},
      {.mesh = {1, 1, world}, .zero_stage = 2},
      {.mesh = {1, 1, world}, .zero_stage = 3},
      {.mesh = {1, 1, world}, .zero_stage = 1, .state = StatePlace::kHost},
  };
  if (world == 4) {
    layouts.push_back({.mesh = {2, 2, 1}});
    layouts.push_back({.mesh = {2, 1, 2}, .zero_stage = 1});
    layouts.push_back({.mesh = {1, 2, 2}, .zero_stage = 3});
  }
  return layouts;
}

Task TaskOf(bool full, bool tied = false) {
  return TinyTask({.full = full, .tied = tied, .layers = 4});
}

TEST(Resume, IsBitwiseEqualToNotStoppingInTheSameLayout) {
  for (const bool full : {false, true}) {
    const Task task = TaskOf(full, /*tied=*/full);
    std::vector<Layout> layouts = Layouts();
    if (!full) layouts = {layouts[1], layouts[2], layouts[6]};  // adapters in every kind of slice
    for (const Layout& layout : layouts) {
      const SharedFolder folder;
      const TrainPlan plan = PlanOf(task, folder.path());
      const Outcome straight = Straight(task, layout, kSteps);
      Save(*Straight(task, layout, kStop).job, plan, kStop);
      const Outcome resumed = GoneOn(task, layout, Found(plan), kSteps);
      ASSERT_EQ(resumed.metrics.size(), static_cast<size_t>(kSteps - kStop));
      for (int64_t step = kStop; step < kSteps; ++step) {
        ExpectSameBits(resumed.metrics[step - kStop], straight.metrics[step], ToString(layout));
      }
      const SharedFolder other;
      Save(*straight.job, plan, kSteps);
      Save(*resumed.job, PlanOf(task, other.path()), kSteps);
      ExpectEqual(TensorsOf(Found(PlanOf(task, other.path()))), TensorsOf(Found(plan)),
                  ToString(layout));
    }
  }
}

TEST(Resume, InEveryOtherLayoutHasTheSameStateAndTrainsTheSame) {
  for (const bool full : {false, true}) {
    const Task task = TaskOf(full);
    const std::vector<Layout> layouts = Layouts();
    int pair = 0;
    for (const Layout& from : layouts) {
      const SharedFolder folder;
      const TrainPlan plan = PlanOf(task, folder.path());
      const Outcome straight = Straight(task, from, kStop);
      Save(*straight.job, plan, kStop);
      const Committed checkpoint = Found(plan);
      const Whole state = TensorsOf(checkpoint);
      const double next = Trainer(*straight.job).Step(kStop)->loss;
      for (const Layout& to : layouts) {
        // Of adapters pairs of neighbours will do: what differs is how many there are. On four
        // ranks every third pair, all of them for who changes what is saved (FTTRAIN_WHOLE_MATRIX).
        if (!full && &to - &from != 1) continue;
        const bool all =
            TestProcess().world_size() == 2 || getenv("FTTRAIN_WHOLE_MATRIX") != nullptr;
        if (!all && full && ++pair % 3 != 0) continue;
        const std::string what = ToString(from) + " to " + ToString(to);
        const auto job = BuildTiny(task, to);
        const absl::Status read = GoOnFrom(checkpoint, *job, RealFileSystem(), TestProcess());
        ASSERT_TRUE(read.ok()) << read;
        const SharedFolder other;
        Save(*job, PlanOf(task, other.path()), kStop);
        ExpectEqual(TensorsOf(Found(PlanOf(task, other.path()))), state, what);
        EXPECT_NEAR(Trainer(*job).Step(kStop)->loss, next, 1e-10 * next) << what;
      }
    }
  }
}

// Whether ranks divide the experts is a matter of the layout: a checkpoint holds each of them
// whole, once.
TEST(Resume, OfDividedExpertsIsThatOfWholeOnes) {
  const int world = TestProcess().world_size();
  std::vector<Layout> layouts = {{.mesh = {.dp = world, .ep = world}},
                                 {.mesh = {.tp = world}},
                                 {.mesh = {.dp = world, .ep = 2}, .zero_stage = 1},
                                 {.mesh = {.pp = 2, .dp = world / 2}, .zero_stage = 1}};
  if (world == 4) layouts.push_back({.mesh = {.tp = 2, .dp = 2, .ep = 2}, .zero_stage = 1});
  for (const bool full : {false, true}) {
    Task task = TinyTask({.full = full, .layers = 3, .experts = true});
    task.adamw.eps = 0.01;
    if (!full) {
      task.form.adapter->target_parameters = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"};
    }
    const auto alone = BuildTiny(task, Layout{});
    {
      Trainer trainer(*alone);
      for (int64_t step = 0; step < kStop; ++step) ASSERT_TRUE(trainer.Step(step).ok());
    }
    const double want = Trainer(*alone).Step(kStop)->loss;
    for (size_t i = 0; i < layouts.size(); ++i) {
      const Layout& from = layouts[i];
      const Layout& to = layouts[(i + 1) % layouts.size()];
      const std::string what = ToString(from) + " to " + ToString(to);
      const SharedFolder folder, other;
      const TrainPlan plan = PlanOf(task, folder.path());
      Save(*Straight(task, from, kStop).job, plan, kStop);
      const Committed checkpoint = Found(plan);
      for (const Layout& layout : {to, Layout{}}) {
        const auto job = BuildTiny(task, layout);
        const absl::Status read = GoOnFrom(checkpoint, *job, RealFileSystem(), TestProcess());
        ASSERT_TRUE(read.ok()) << what << read;
        if (layout.mesh.world_size() > 1) {
          Save(*job, PlanOf(task, other.path()), kStop);
          ExpectEqual(TensorsOf(Found(PlanOf(task, other.path()))), TensorsOf(checkpoint), what);
        }
        EXPECT_NEAR(Trainer(*job).Step(kStop)->loss, want, 1e-10 * want) << what;
      }
    }
  }
}

TEST(Resume, CopiesAreWhatTheStateWasHoweverLongTheWriting) {
  const Task task = TaskOf(/*full=*/true);
  const Layout layout = Layouts()[4];
  const SharedFolder folder, other;
  const TrainPlan plan = PlanOf(task, folder.path());
  const Outcome run = Straight(task, layout, kStop);
  const RunIdentity identity = Identity();
  Saver saver(*run.job, plan, identity, RealFileSystem(), DiskOf(plan), TestProcess());
  ASSERT_TRUE(saver.Begin(kStop).ok());
  (void)Trainer(*run.job).Step(kStop);  // the state is another now
  ASSERT_TRUE(saver.Finish().ok());
  EXPECT_EQ(saver.committed(), kStop);
  Save(*Straight(task, layout, kStop).job, PlanOf(task, other.path()), kStop);
  ExpectEqual(TensorsOf(Found(plan)), TensorsOf(Found(PlanOf(task, other.path()))), "copies");
}

TEST(Resume, KeepsTheNewestAndTheOneItBeganFrom) {
  const Task task = TaskOf(/*full=*/false);
  const SharedFolder folder;
  TrainPlan plan = PlanOf(task, folder.path());
  plan.output.keep_checkpoints = 1;
  const Outcome run = Straight(task, Layouts()[3], 1);
  const RunIdentity identity = Identity();
  Saver saver(*run.job, plan, identity, RealFileSystem(), DiskOf(plan), TestProcess());
  const auto there = [&](int64_t step) {
    return std::filesystem::exists(plan.output.folder + "/checkpoints/step-" +
                                   std::to_string(step));
  };
  for (const int64_t step : {1, 2}) {
    ASSERT_TRUE(saver.Begin(step).ok());
    ASSERT_TRUE(saver.Finish().ok());
    TestProcess().Barrier();  // the first rank removes older ones
  }
  EXPECT_FALSE(there(1));
  EXPECT_TRUE(there(2));
  saver.BeganFrom(2, "");
  for (const int64_t step : {3, 4}) {
    ASSERT_TRUE(saver.Begin(step).ok());
    ASSERT_TRUE(saver.Finish().ok());
    TestProcess().Barrier();
    EXPECT_EQ(there(2), step == 3);
    TestProcess().Barrier();
  }
  EXPECT_TRUE(there(4));
  EXPECT_FALSE(there(3));
}

TEST(Resume, OfAnotherRunIsRefusedWithWhatDiffers) {
  const Task task = TaskOf(/*full=*/false);
  const SharedFolder folder;
  TrainPlan plan = PlanOf(task, folder.path());
  Save(*Straight(task, Layouts()[3], 1).job, plan, 1);
  RunIdentity other = Identity();
  other.keys["train.seed"] = "12";
  other.digests["model"] = std::string(64, 'b');
  const auto found = [&] {
    return FindCheckpoint(plan, other, RealFileSystem(), DiskOf(plan), TestProcess()).status();
  };
  EXPECT_THAT(found(), IsError(absl::StatusCode::kInvalidArgument,
                               "train.seed was 11, is 12; the files of model.path are others"));
  plan.output.allow_changed = {"model"};
  EXPECT_THAT(ErrorText(found()), HasSubstr("is of another run: train.seed was 11, is 12. Undo"));
  plan.output.allow_changed = {"model", "train.seed"};
  EXPECT_TRUE(found().ok());
  other.rows_per_step = 8;
  EXPECT_THAT(ErrorText(found()), HasSubstr("of a run with 16 rows a step, this one has 8"));
}

TEST(Resume, PassesOverADamagedCheckpointAndSetsItAside) {
  const Task task = TaskOf(/*full=*/false);
  const SharedFolder folder;
  const TrainPlan plan = PlanOf(task, folder.path());
  const Outcome run = Straight(task, Layouts()[3], 1);
  Save(*run.job, plan, 1);
  const std::string newest = Save(*run.job, plan, 2);
  if (TestProcess().rank() == 0) {
    std::fstream file(newest + "/adapter_model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x7f');
  }
  TestProcess().Barrier();
  EXPECT_EQ(Found(plan).step, 1);
  TestProcess().Barrier();  // the first rank sets it aside
  EXPECT_TRUE(std::filesystem::exists(plan.output.folder + "/checkpoints/damaged-step-2"));
  Save(*run.job, plan, 2);
  EXPECT_EQ(Found(plan).step, 2);
}

// Exact, but for what tensor ranks have in common: then no more than what is foretold.
TEST(Saver, WhatItCopiesIsForetold) {
  const int world = TestProcess().world_size();
  for (const bool full : {false, true}) {
    for (const Layout& layout : {Layout{.mesh = {1, 1, world}, .zero_stage = 1},
                                 {.mesh = {1, 1, world}, .zero_stage = 0},
                                 {.mesh = {.dp = world, .ep = 2}, .zero_stage = 0},
                                 {.mesh = {1, world, 1}},
                                 {.mesh = {world, 1, 1}}}) {
      SCOPED_TRACE(ToString(layout));
      const SharedFolder folder;
      const Task task = layout.mesh.ep > 1 ? TinyTask({.full = full, .layers = 4, .experts = true})
                                           : TaskOf(full);
      const TrainPlan plan = PlanOf(task, folder.path());
      RankMemory measured;
      {
        const auto job = BuildTiny(task, layout);
        measured = BeginMemory(TestProcess().rank());
        Trainer trainer(*job);
        for (int64_t step = 0; step < 2; ++step) ASSERT_TRUE(trainer.Step(step).ok());
        Save(*job, plan, 2);
        measured = WithPeaks(measured);
      }
      JobInputs inputs = TinyInputs(task);
      const auto without = RehearseRank(task, layout, inputs, TestProcess().rank());
      inputs.saving = RehearseSave;
      const auto planned = RehearseRank(task, layout, inputs, TestProcess().rank());
      ASSERT_TRUE(without.ok() && planned.ok()) << without.status() << planned.status();
      const int64_t most = planned->host.peak.total, got = measured.host.peak.total;
      EXPECT_GE(most, got);
      EXPECT_TRUE(layout.mesh.tp > 1 || most == got) << most << " and " << got;
      EXPECT_GE(most, without->host.peak.total);
      if (TestProcess().rank() == 0) {
        EXPECT_GT(most, without->host.peak.total);
      }
    }
  }
}

// A run that is told to go on from another's checkpoint, stopped, and started by the same command.
TEST(Resume, OfAFolderGoesOnFromItsOwnOnceItHasSome) {
  const Task task = TaskOf(/*full=*/false);
  const SharedFolder first, second;
  const Outcome run = Straight(task, Layouts()[3], 1);
  const std::string from = Save(*run.job, PlanOf(task, first.path()), 1);
  const std::string other = Save(*run.job, PlanOf(task, first.path()), 2);
  TrainPlan plan = PlanOf(task, second.path());
  plan.output.resume = from + "/";
  const Committed begun = Found(plan, plan.output.resume);
  EXPECT_EQ(begun.path, from + "/");
  const RunIdentity identity = Identity();
  Saver saver(*run.job, plan, identity, RealFileSystem(), DiskOf(plan), TestProcess());
  saver.BeganFrom(1, BegunWith(plan, begun));
  ASSERT_TRUE(saver.Begin(3).ok());
  ASSERT_TRUE(saver.Finish().ok());
  const Committed own = Found(plan, from);
  EXPECT_EQ(own.path, plan.output.folder + "/checkpoints/step-3");
  EXPECT_EQ(Found(plan, "auto").path, own.path);
  EXPECT_EQ(Found(plan, other).path, other);
  // Not another run's that began there, whatever may differ from the checkpoint.
  RunIdentity another = Identity();
  another.keys["train.seed"] = "12";
  plan.output.allow_changed = {"train.seed"};
  const auto found =
      FindCheckpoint(plan, another, RealFileSystem(), DiskOf(plan), TestProcess()).value();
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->path, plan.output.resume);
  // And from there once more where what it has made is damaged.
  TestProcess().Barrier();
  if (TestProcess().rank() == 0) std::filesystem::remove(own.path + "/COMMIT");
  TestProcess().Barrier();
  EXPECT_EQ(Found(plan, from).path, from);
  plan.output.resume = "auto";
  EXPECT_EQ(BegunWith(plan, own), std::filesystem::canonical(from).string());
}

// Every rank with a disk of its own, as on a cluster without a shared one.
TEST(ResumeWithoutASharedDisk, GoesOnInTheSameLayoutAndRefusesAnother) {
  for (const Layout& layout : Layouts()) {
    const Task task = TaskOf(/*full=*/true);
    const TempFolder mine;
    const TrainPlan plan = PlanOf(task, mine.path());
    ASSERT_EQ(DiskOf(plan).ranks, std::vector<int>({TestProcess().rank()}));
    const Outcome straight = Straight(task, layout, kSteps);
    Save(*Straight(task, layout, kStop).job, plan, kStop);
    const Outcome resumed = GoneOn(task, layout, Found(plan), kSteps);
    for (int64_t step = kStop; step < kSteps; ++step) {
      ExpectSameBits(resumed.metrics[step - kStop], straight.metrics[step], ToString(layout));
    }
  }
}

TEST(ResumeWithoutASharedDisk, SaysWhichHostLacksWhat) {
  const int world = TestProcess().world_size();
  const Task task = TaskOf(/*full=*/true);
  const TempFolder mine;
  const TrainPlan plan = PlanOf(task, mine.path());
  Save(*Straight(task, {.mesh = {world, 1, 1}}, 1).job, plan, 1);
  const auto job = BuildTiny(task, {.mesh = {1, 1, world}});
  const absl::Status read = GoOnFrom(Found(plan), *job, RealFileSystem(), TestProcess());
  EXPECT_THAT(read, IsError(absl::StatusCode::kDataLoss, "it lacks some of 'master' of '"));
  EXPECT_THAT(ErrorText(read), HasSubstr("saved without a shared disk"));
  if (TestProcess().rank() + 1 == world) std::filesystem::remove_all(mine / "checkpoints");
  const absl::Status missing =
      FindCheckpoint(plan, Identity(), RealFileSystem(), DiskOf(plan), TestProcess()).status();
  EXPECT_THAT(ErrorText(missing),
              HasSubstr("rank " + std::to_string(world - 1) + " on host " + TestProcess().host()));
}

// A new host in the place of the first, which has all that decides.
TEST(ResumeWithoutASharedDisk, DoesNotBeginAnewWhereTheFirstHasNone) {
  const int world = TestProcess().world_size();
  const Task task = TaskOf(/*full=*/true);
  const TempFolder mine;
  const TrainPlan plan = PlanOf(task, mine.path());
  Save(*Straight(task, {.mesh = {world, 1, 1}}, 1).job, plan, 1);
  if (TestProcess().rank() == 0) std::filesystem::remove_all(mine / "checkpoints");
  const absl::Status found =
      FindCheckpoint(plan, Identity(), RealFileSystem(), DiskOf(plan), TestProcess()).status();
  EXPECT_THAT(found, IsError(absl::StatusCode::kDataLoss, "step-1"));
  EXPECT_THAT(ErrorText(found), HasSubstr("rank 0 on host " + TestProcess().host()));
}

TEST(ResumeWithoutASharedDisk, WhatOneDiskAloneHasIsSetAside) {
  const int world = TestProcess().world_size();
  const Task task = TaskOf(/*full=*/true);
  const TempFolder mine;
  const TrainPlan plan = PlanOf(task, mine.path());
  const Outcome run = Straight(task, {.mesh = {world, 1, 1}}, 1);
  for (const int64_t step : {1, 2}) Save(*run.job, plan, step);
  if (TestProcess().rank() == 0) std::filesystem::remove_all(mine / "checkpoints/step-2");
  EXPECT_EQ(Found(plan).step, 1);
  EXPECT_EQ(std::filesystem::exists(mine / "checkpoints/damaged-step-2"), TestProcess().rank() > 0);
  Save(*run.job, plan, 2);
  EXPECT_EQ(Found(plan).step, 2);
}

TEST(ResumeWithoutASharedDisk, ASaveThatOneDiskLacksCostsNoOlderOne) {
  const int world = TestProcess().world_size();
  const Task task = TaskOf(/*full=*/true);
  const TempFolder mine;
  TrainPlan plan = PlanOf(task, mine.path());
  plan.output.keep_checkpoints = 1;
  const Outcome run = Straight(task, {.mesh = {world, 1, 1}}, 1);
  const RunIdentity identity = Identity();
  Saver saver(*run.job, plan, identity, RealFileSystem(), DiskOf(plan), TestProcess());
  ASSERT_TRUE(saver.Begin(1).ok());
  ASSERT_TRUE(saver.Finish().ok());
  ASSERT_TRUE(saver.Begin(2).ok());
  while (!saver.Written()) std::this_thread::yield();
  if (TestProcess().rank() + 1 == world) {
    for (const auto& entry : std::filesystem::directory_iterator(mine / "checkpoints")) {
      if (entry.path().filename().string()[0] == '.') std::filesystem::remove_all(entry.path());
    }
  }
  EXPECT_THAT(ErrorText(saver.Finish()),
              HasSubstr("rank " + std::to_string(world - 1) + " on host"));
  EXPECT_EQ(Found(plan).step, 1);
  ASSERT_TRUE(saver.Begin(2).ok());
  ASSERT_TRUE(saver.Finish().ok());
  EXPECT_EQ(Found(plan).step, 2);
  EXPECT_FALSE(std::filesystem::exists(mine / "checkpoints/step-1"));
}

}  // namespace
}  // namespace fttrain
