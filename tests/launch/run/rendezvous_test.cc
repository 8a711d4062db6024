// Training where communication waits as NCCL's does (tests/runtime/comm/rendezvous.h): what hangs
// over NCCL, or waits for a kernel that is loaded late, hangs here.
#include "tests/runtime/comm/rendezvous.h"

#include <gtest/gtest.h>

#include "tests/launch/run/tiny_job.h"

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
