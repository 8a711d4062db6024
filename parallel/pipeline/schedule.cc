#include "parallel/pipeline/schedule.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

using Kind = PipelineStep::Kind;

// One forward and one backward in turn after `warm_up` forwards, then the backwards that are left.
// forward(i) and backward(i) are the i-th of `total` of each.
template <class Forward, class Backward>
std::vector<PipelineStep> AfterWarmUp(int warm_up, int total, const Forward& forward,
                                      const Backward& backward) {
  std::vector<PipelineStep> steps;
  for (int i = 0; i < total + warm_up; ++i) {
    if (i < total) steps.push_back(forward(i));
    if (i >= warm_up) steps.push_back(backward(i - warm_up));
  }
  return steps;
}

}  // namespace

std::vector<PipelineStep> GPipe(int num_microbatches) {
  std::vector<PipelineStep> steps;
  for (const Kind kind : {Kind::kForward, Kind::kBackward}) {
    for (int m = 0; m < num_microbatches; ++m) steps.push_back({kind, 0, {m}});
  }
  return steps;
}

std::vector<PipelineStep> OneForwardOneBackward(int stage, int num_stages, int num_microbatches) {
  const int warm_up = std::min(num_stages - stage - 1, num_microbatches);
  return AfterWarmUp(
      warm_up, num_microbatches,
      [](int i) {
        return PipelineStep{Kind::kForward, 0, {i}};
      },
      [](int i) {
        return PipelineStep{Kind::kBackward, 0, {i}};
      });
}

absl::Status CheckInterleaved(int num_stages, int chunks, int num_microbatches) {
  if (num_microbatches % num_stages == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the interleaved schedule takes microbatches by groups of ", num_stages, " (stages), and ",
      num_microbatches, " is no multiple of that; set train.gradient_accumulation_steps to ",
      (num_microbatches / num_stages + 1) * num_stages, ", or parallel.pipeline_schedule to 1f1b",
      chunks > 1 ? " with parallel.chunks_per_stage 1" : ""));
}

std::vector<PipelineStep> Interleaved(int stage, int num_stages, int chunks, int num_microbatches) {
  const absl::Status fits = CheckInterleaved(num_stages, chunks, num_microbatches);
  TORCH_CHECK(fits.ok(), fits.ToString());
  const int total = num_microbatches * chunks, group = num_stages * chunks;
  // Enough forwards that the first microbatch's last chunk, on the last stage, is behind them: one
  // group through all chunks but the last, and twice the way to the end for the stages before it.
  const int warm_up = std::min(total, 2 * (num_stages - stage - 1) + (chunks - 1) * num_stages);
  const auto step = [&](Kind kind, int i) {
    const int within = i % group, microbatch = i / group * num_stages + within % num_stages;
    const int chunk = within / num_stages;
    return PipelineStep{kind, kind == Kind::kForward ? chunk : chunks - 1 - chunk, {microbatch}};
  };
  return AfterWarmUp(
      warm_up, total, [&](int i) { return step(Kind::kForward, i); },
      [&](int i) { return step(Kind::kBackward, i); });
}

std::vector<PipelineStep> LayerMajor(int num_chunks, int num_microbatches) {
  std::vector<PipelineStep> steps;
  if (num_microbatches == 0) return steps;
  std::vector<int> all(static_cast<size_t>(num_microbatches));
  std::iota(all.begin(), all.end(), 0);
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    steps.push_back({Kind::kForward, chunk, all});
  }
  for (int chunk = num_chunks - 1; chunk >= 0; --chunk) {
    steps.push_back({Kind::kBackward, chunk, all});
  }
  return steps;
}

std::vector<PipelineStep> ForwardsOnly(int num_stages, int num_chunks, int num_microbatches) {
  std::vector<PipelineStep> steps;
  for (int begin = 0; begin < num_microbatches; begin += num_stages) {
    const int end = std::min(begin + num_stages, num_microbatches);
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      for (int microbatch = begin; microbatch < end; ++microbatch) {
        steps.push_back({Kind::kForward, chunk, {microbatch}, /*kept=*/false});
      }
    }
  }
  return steps;
}

std::vector<PipelineStep> MakePipelineSchedule(PipelineKind kind, int stage, int num_stages,
                                               int chunks, int num_microbatches) {
  if (kind == PipelineKind::kInterleaved) {
    return Interleaved(stage, num_stages, chunks, num_microbatches);
  }
  if (kind == PipelineKind::kLayerMajor) {
    TORCH_CHECK(num_stages == 1, "layer-major on ", num_stages, " stages");
    return LayerMajor(chunks, num_microbatches);
  }
  TORCH_CHECK(chunks == 1, chunks, " chunks a stage without the interleaved schedule");
  return kind == PipelineKind::kGPipe ? GPipe(num_microbatches)
                                      : OneForwardOneBackward(stage, num_stages, num_microbatches);
}

PipelineSchedule MakeAllStages(PipelineKind kind, int num_stages, int chunks,
                               int num_microbatches) {
  PipelineSchedule stages;
  for (int stage = 0; stage < num_stages; ++stage) {
    stages.push_back(MakePipelineSchedule(kind, stage, num_stages, chunks, num_microbatches));
  }
  return stages;
}

int MostInFlight(const std::vector<PipelineStep>& steps) {
  int now = 0, most = 0;
  for (const PipelineStep& step : steps) {
    if (!step.kept) continue;
    const int count = static_cast<int>(step.microbatches.size());
    for (int i = 0; i < count; ++i) {
      now += step.kind == Kind::kForward ? 1 : -1;
      most = std::max(most, now);
    }
  }
  return most;
}

std::string ToString(const std::vector<PipelineStep>& steps) {
  return absl::StrJoin(steps, " ", [](std::string* out, const PipelineStep& step) {
    const char* kind = step.kind == Kind::kBackward ? "B" : step.kept ? "F" : "f";
    absl::StrAppend(out, kind, step.chunk, ".", absl::StrJoin(step.microbatches, ","));
  });
}

}  // namespace fttrain
