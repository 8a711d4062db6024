// report.html: a run's curves as a page, while the run goes on and after it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/report/chart.h"
#include "launch/run/metrics.h"
#include "launch/run/metrics_sink.h"
#include "launch/run/samples.h"

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

// What the run said first, and what last, to each prompt.
class ShownSamples {
 public:
  void Add(int64_t step, size_t index, const Sample& sample);
  // A line of samples.jsonl. What is none is passed over.
  void Add(const std::string& line);
  // A table; empty where nothing was said.
  std::string Html() const;

 private:
  struct Said {
    int64_t step = 0;
    std::string answer;
  };
  struct Row {
    std::string prompt;
    Said first, last;
  };
  std::map<size_t, Row> rows_;
};

// One self-contained page without scripts, light and dark. `done`: it will not change any more.
std::string RunPageText(const RunPageHead& head, const RunCurves& curves,
                        const ShownSamples& samples, bool done);

// Writes the page anew every few seconds. A convenience: what cannot be written is told once and
// does not end the run.
class RunPage : public MetricsSink {
 public:
  // `path`: of the page. `metrics_path`, `samples_path`: of the lines of steps before this start,
  // if any; empty: there are none.
  RunPage(std::string path, RunPageHead head, const std::string& metrics_path,
          const std::string& samples_path);
  ~RunPage() override;  // the page says that the run has ended

  absl::Status OnStep(const StepMetrics& metrics) override;
  absl::Status OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool lowest) override;
  absl::Status OnSamples(int64_t step, const std::vector<Sample>& samples) override;

 private:
  void Write(bool done);

  std::string path_;
  RunPageHead head_;
  RunCurves curves_;
  ShownSamples samples_;
  std::chrono::steady_clock::time_point written_;
  bool failed_ = false;
};

}  // namespace fttrain
