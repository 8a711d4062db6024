#include "parallel/pipeline/schedule.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {

std::vector<PipelineStep> LayerMajor(int num_chunks, int num_microbatches) {
  std::vector<PipelineStep> steps;
  if (num_microbatches == 0) return steps;
  std::vector<int> all(static_cast<size_t>(num_microbatches));
  std::iota(all.begin(), all.end(), 0);
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    steps.push_back({PipelineStep::Kind::kForward, chunk, all});
  }
  for (int chunk = num_chunks - 1; chunk >= 0; --chunk) {
    steps.push_back({PipelineStep::Kind::kBackward, chunk, all});
  }
  return steps;
}

std::vector<PipelineStep> ForwardsOnly(int num_stages, int num_chunks, int num_microbatches) {
  std::vector<PipelineStep> steps;
  for (int begin = 0; begin < num_microbatches; begin += num_stages) {
    const int end = std::min(begin + num_stages, num_microbatches);
    for (int chunk = 0; chunk < num_chunks; ++chunk) {
      for (int microbatch = begin; microbatch < end; ++microbatch) {
        steps.push_back({PipelineStep::Kind::kForward, chunk, {microbatch}, /*kept=*/false});
      }
    }
  }
  return steps;
}

std::string ToString(const std::vector<PipelineStep>& steps) {
  return absl::StrJoin(steps, " ", [](std::string* out, const PipelineStep& step) {
    const char* kind = step.kind == PipelineStep::Kind::kBackward ? "B" : step.kept ? "F" : "f";
    absl::StrAppend(out, kind, step.chunk, ".", absl::StrJoin(step.microbatches, ","));
  });
}

}  // namespace fttrain
