// report.html: a run's curves as a page, while the run goes on and after it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/report/chart.h"
#include "launch/run/metrics.h"
#include "launch/run/metrics_sink.h"

namespace fttrain {

// What a page shows beside curves.
struct RunPageHead {
  std::string title;    // the output folder
  std::string summary;  // StartSummary
  std::string config;   // as config.yaml
  int64_t steps = 0;    // of the run
};

// Curves of a run so far.
struct RunCurves {
  Curve loss{"train", {}, {}}, eval_loss{"held out", {}, {}};
  Curve learning_rate{"learning rate", {}, {}}, grad_norm{"before clipping", {}, {}};
  Curve tokens_per_second{"tokens/s", {}, {}}, memory{"tensors, GiB", {}, {}};
  PhaseSeconds phases;  // of all steps
  double seconds = 0;   // likewise

  void Add(const StepMetrics& metrics);
  void Add(int64_t step, const HeldOutLoss& held_out);
  // A line of metrics.jsonl. What is none is passed over.
  void Add(const std::string& line);
};

// One self-contained page without scripts, light and dark. `done`: it will not change any more.
std::string RunPageText(const RunPageHead& head, const RunCurves& curves, bool done);

// Writes the page anew every few seconds. A convenience: what cannot be written is told once and
// does not end the run.
class RunPage : public MetricsSink {
 public:
  // `path`: of the page. `metrics_path`: of the lines of steps before this start, if any.
  RunPage(std::string path, RunPageHead head, const std::string& metrics_path);
  ~RunPage() override;  // the page says that the run has ended

  absl::Status OnStep(const StepMetrics& metrics) override;
  absl::Status OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool lowest) override;

 private:
  void Write(bool done);

  std::string path_;
  RunPageHead head_;
  RunCurves curves_;
  std::chrono::steady_clock::time_point written_;
  bool failed_ = false;
};

}  // namespace fttrain
