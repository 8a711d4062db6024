#include "launch/report/run_sinks.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "configs/to_yaml.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::StatusOr<std::unique_ptr<RunSinks>> RunSinks::Open(const TrainPlan& plan,
                                                         const std::string& summary,
                                                         int64_t steps_done) {
  const std::string& folder = plan.output.folder;
  const std::string metrics_path = absl::StrCat(folder, "/metrics.jsonl");
  auto sinks = absl::WrapUnique(new RunSinks());
  FT_ASSIGN_OR_RETURN(sinks->metrics_, MetricsFile::Create(metrics_path, steps_done));
  sinks->progress_ = std::make_unique<Progress>(plan.task.steps, plan.output.log_steps);
  const std::string samples_path = absl::StrCat(folder, "/samples.jsonl");
  if (plan.inputs.samples != nullptr) {
    FT_ASSIGN_OR_RETURN(sinks->samples_, SamplesFile::Create(samples_path, steps_done));
  }
  absl::StatusOr<std::unique_ptr<EventFile>> events =
      EventFile::Create(absl::StrCat(folder, "/tensorboard"), steps_done);
  if (events.ok()) {
    sinks->events_ = *std::move(events);
  } else {
    LogInfo(absl::StrCat("warning    ", std::string(events.status().message()),
                         "; there are no curves for TensorBoard"));
  }
  RunPageHead head{folder, summary, config::ToYaml(plan.run), plan.task.steps};
  sinks->page_ = std::make_unique<RunPage>(absl::StrCat(folder, "/report.html"), std::move(head),
                                           metrics_path, sinks->samples_ ? samples_path : "");
  return sinks;
}

std::vector<MetricsSink*> RunSinks::All() const {
  std::vector<MetricsSink*> all = {metrics_.get(), progress_.get()};
  if (samples_) all.push_back(samples_.get());
  if (events_) all.push_back(events_.get());
  all.push_back(page_.get());
  return all;
}

}  // namespace fttrain
