#include "parallel/schedule.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {

std::vector<PipelineStep> SingleStage(int num_microbatches) {
  std::vector<PipelineStep> steps;
  for (int microbatch = 0; microbatch < num_microbatches; ++microbatch) {
    steps.push_back({PipelineStep::Kind::kForward, 0, {microbatch}});
    steps.push_back({PipelineStep::Kind::kBackward, 0, {microbatch}});
  }
  return steps;
}

std::string ToString(const std::vector<PipelineStep>& steps) {
  return absl::StrJoin(steps, " ", [](std::string* out, const PipelineStep& step) {
    absl::StrAppend(out, step.kind == PipelineStep::Kind::kForward ? "F" : "B", step.chunk, ".",
                    absl::StrJoin(step.microbatches, ","));
  });
}

}  // namespace fttrain
