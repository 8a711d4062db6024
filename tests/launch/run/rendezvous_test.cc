// Training where communication waits as NCCL's does (tests/runtime/comm/rendezvous.h): what hangs
// over NCCL, or waits for a kernel that is loaded late, hangs here.
#include "tests/runtime/comm/rendezvous.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "absl/strings/str_cat.h"
#include "launch/run/weights.h"
#include "runtime/files/whole_file.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

constexpr double kSeconds = 30;

std::vector<Layout> Layouts() {
  const int world = TestProcess().world_size();
  std::vector<Layout> layouts;
  for (int pp = 1; pp <= world; pp *= 2) {
    for (int tp = 1; tp * pp <= std::min(world, 2 * pp); tp *= 2) {
      const MeshShape mesh{tp, pp, world / pp / tp};
      for (const int zero : {0, 1, 2, 3}) {
        for (const PipelineKind kind : {PipelineKind::kOneForwardOneBackward, PipelineKind::kGPipe,
                                        PipelineKind::kInterleaved}) {
          const bool interleaved = kind == PipelineKind::kInterleaved;
          if (pp == 1 && kind != PipelineKind::kOneForwardOneBackward) continue;
          // Stages 0 and 2 wait as 1 and 3 do; all of them in every schedule for who changes that
          // (FTTRAIN_WHOLE_MATRIX).
          const bool all = kind == PipelineKind::kOneForwardOneBackward ||
                           getenv("FTTRAIN_WHOLE_MATRIX") != nullptr;
          if (!all && zero % 2 == 0) continue;
          Layout layout{
              .mesh = mesh, .sequence_parallel = true, .zero_stage = zero, .schedule = kind};
          if (interleaved) layout.layers_per_run.assign(static_cast<size_t>(2 * pp), 8 / (2 * pp));
          layouts.push_back(layout);
        }
      }
    }
  }
  Layout streamed{.mesh = {1, 1, world}, .zero_stage = 3, .schedule = PipelineKind::kLayerMajor};
  streamed.layers_per_run.assign(8, 1);
  streamed.frozen = FrozenPlace::kHost;
  layouts.push_back(streamed);
  return layouts;
}

// What the ends of a pipeline share goes over the communicator of its stages.
TEST(Training, ConnectsBeforehandTheEndsThatShareATable) {
  const int world = TestProcess().world_size();
  const Task task = TinyTask({.full = true, .tied = true, .layers = 8});
  const auto one = BuildTiny(task, Layout{});
  const Trained want = Train(*one, 2);
  JobInputs inputs = TinyInputs(task);
  inputs.backend = CreateRendezvousCommunicator;
  for (const int stages : {2, world}) {
    for (const int zero : {0, 1, 2}) {
      const Layout layout{.mesh = {1, stages, world / stages}, .zero_stage = zero};
      SCOPED_TRACE(ToString(layout));
      const auto waiting = BuildTiny(task, layout, inputs);
      ExpectNear(Train(*waiting, 2), want, *waiting->network->mesh);
    }
  }
}

// Also with two GPUs, over NCCL.
TEST(Saving, OfAPipelineWritesTheFileOfOneRank) {
  const int stages = TestProcess().world_size();
  const Task task = TinyTask({.layers = 8});
  JobInputs inputs = TinyInputs(task);
  if (TestDevice().is_cpu()) inputs.backend = CreateRendezvousCommunicator;
  const int rank = TestProcess().rank();
  const auto save = [&](Job& job, const std::string& name) {
    const Network& network = *job.network;
    const std::string folder = absl::StrCat(testing::TempDir(), "saved_by_", name, rank);
    const absl::Status saved = SaveAdapter(network.parameters, *network.store, network.declared,
                                           folder, *task.form.adapter);
    EXPECT_TRUE(saved.ok()) << saved;
    return folder + "/adapter_model.safetensors";
  };
  const std::string by_stages = save(*BuildTiny(task, {.mesh = {1, stages, 1}}, inputs), "stages");
  const std::string by_one = save(*BuildTiny(task, Layout{}), "one");  // each rank for itself
  if (rank != 0) return;
  const absl::StatusOr<std::string> got = ReadFile(by_stages), want = ReadFile(by_one);
  ASSERT_TRUE(got.ok() && want.ok()) << got.status() << want.status();
  EXPECT_TRUE(*got == *want);
}

TEST(Training, DoesNotHangWhereCommunicationHoldsUpTheDevice) {
  const Task task = TinyTask({.layers = 8});
  for (const Layout& layout : Layouts()) {
    SCOPED_TRACE(ToString(layout));
    JobInputs inputs = TinyInputs(task);
    const auto job = BuildTiny(task, layout, inputs);
    const Trained want = Train(*job, 2);
    inputs.backend = CreateRendezvousCommunicator;
    for (const auto which : {LaunchesWait::For::kFirstOfAName, LaunchesWait::For::kEvery}) {
      const auto waiting = BuildTiny(task, layout, inputs);
      const LaunchesWait waits(which, kSeconds);
      const Trained got = Train(*waiting, 2);
      ExpectNear(got, want, *waiting->network->mesh);
    }
  }
}

}  // namespace
}  // namespace fttrain
