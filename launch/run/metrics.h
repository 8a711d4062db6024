// What one optimizer step reports, where it goes (metrics.jsonl), and the line a person reads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/run/held_out_loss.h"
#include "launch/run/metrics_sink.h"
#include "launch/run/phases.h"

namespace fttrain {

struct StepMetrics {
  int64_t step = 0;  // 1 for the first
  double loss = 0;   // sum of token losses / target tokens, over all ranks
  // Of the routers, where it is minimised too: the mean over microbatches by their tokens, without
  // its coefficient. No part of `loss`.
  std::optional<double> router_loss = {};
  double grad_norm = 0;  // before clipping
  double learning_rate = 0;
  int64_t tokens = 0;  // over all ranks
  int64_t target_tokens = 0;
  double seconds = 0;
  int64_t peak_bytes = 0;  // tensor bytes, of the rank that holds the most
  // What the CUDA allocator holds at the step's end (ReservedBytes), of the rank that holds the
  // most; nothing on CPU ranks.
  std::optional<int64_t> reserved_bytes = {};
  PhaseSeconds phases = {};  // of rank 0, or of the rank that is asked
  std::string skipped = {};  // why nothing was learnt; empty: it was

  double TokensPerSecond() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
};

std::string ToJsonLine(const StepMetrics& metrics);  // without the newline
// {"step": N, "eval_loss": X, "eval_perplexity": X, ...}: after so many steps.
std::string ToJsonLine(int64_t step, const HeldOutLoss& held_out);
// "step 12/30  loss 1.2345  grad_norm 0.812  lr 1.0e-03  5210 tok/s  mem 1.23 GiB  eta 0:12"
std::string ToReadableLine(const StepMetrics& metrics, int64_t total_steps, double eta_seconds);

// One JSON object per line, whole lines only.
class MetricsFile : public MetricsSink {
 public:
  // The lines of the first `steps_done` steps, where the file has them, stay; what else is there,
  // as a line that a crash has torn, goes.
  static absl::StatusOr<std::unique_ptr<MetricsFile>> Create(const std::string& path,
                                                             int64_t steps_done = 0);
  ~MetricsFile() override;
  // Lines for which the disk has no room are kept for the next call; the first is told.
  absl::Status Append(const StepMetrics& metrics) { return Append(ToJsonLine(metrics)); }
  absl::Status Append(const std::string& line);
  absl::Status OnStep(const StepMetrics& metrics) override { return Append(metrics); }
  absl::Status OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool) override {
    return Append(ToJsonLine(step, held_out));
  }
  // ResourceExhausted while there is no room for what is kept.
  absl::Status Flush();

 private:
  MetricsFile(int descriptor, std::string path) : file_(descriptor), path_(std::move(path)) {}
  int file_;
  std::string path_, kept_;
};

// Shows progress on stdout: on a terminal the line and a bar, redrawn in place, in a pipe one plain
// line every log_steps.
class Progress : public MetricsSink {
 public:
  Progress(int64_t total_steps, int64_t log_steps);
  ~Progress() override;
  absl::Status OnStep(const StepMetrics& metrics) override;
  absl::Status OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool lowest) override;
  absl::Status OnSamples(int64_t step, const std::vector<Sample>& samples) override;

 private:
  int64_t total_steps_, log_steps_;
  bool terminal_;
  bool open_line_ = false;
  double mean_seconds_ = 0;
};

}  // namespace fttrain
