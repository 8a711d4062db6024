// All that rank 0 tells of a run while it goes on: metrics.jsonl, samples.jsonl, the terminal,
// TensorBoard's file and report.html.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/report/run_page.h"
#include "launch/run/event_file.h"
#include "launch/run/metrics.h"
#include "launch/run/samples.h"
#include "launch/run/train_plan.h"

namespace fttrain {

class RunSinks {
 public:
  // In the plan's output folder, of a run that goes on after `steps_done` steps. `summary`: of its
  // layout. Errors as MetricsFile's; TensorBoard's file may be missing, which is told.
  static absl::StatusOr<std::unique_ptr<RunSinks>> Open(const TrainPlan& plan,
                                                        const std::string& summary,
                                                        int64_t steps_done);
  std::vector<MetricsSink*> All() const;
  absl::Status Flush() { return metrics_->Flush(); }

 private:
  RunSinks() = default;
  std::unique_ptr<MetricsFile> metrics_;
  std::unique_ptr<Progress> progress_;
  std::unique_ptr<SamplesFile> samples_;  // null: the run has none
  std::unique_ptr<EventFile> events_;     // may be null
  std::unique_ptr<RunPage> page_;
};

}  // namespace fttrain
