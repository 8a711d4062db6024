// What a model says to the same prompts while it learns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launch/run/metrics.h"
#include "launch/run/network.h"
#include "launch/run/questions.h"

namespace fttrain {

// Prompts of a run (train.sample_prompts).
struct Samples {
  Questions questions;
  int64_t max_new_tokens = 64;

  // Of a prompt and its answer, at most.
  int64_t positions() const { return questions.longest + max_new_tokens; }
};

// Of the file at `path`. Null for an empty path. Errors as AskRows's and Speech::Load's.
absl::StatusOr<std::shared_ptr<const Samples>> ReadSamples(const std::string& path,
                                                           int64_t max_new_tokens,
                                                           const Task& task);

struct Sample {
  std::string prompt, answer;
  bool ended = false;  // by a stop token; else by max_new_tokens
};

// The likeliest answers, on every rank, without dropout; of the model nothing changes. `network`
// was built for positions(). Collective over the mesh.
std::vector<Sample> TakeSamples(Network& network, const Samples& samples);

// In a rehearsal (runtime/memory/rehearsal.h): asks for as much memory, about, as TakeSamples where
// no answer ends early.
void RehearseSamples(Network& network, const Samples& samples);

// Of a longer text the beginning, of whole characters, with "..." behind it.
std::string Beginning(const std::string& text, size_t most_bytes);

// {"step": N, "sample": I, "prompt": ..., "answer": ..., "finish_reason": "stop" or "length"}.
std::string ToJsonLine(int64_t step, size_t index, const Sample& sample);

// samples.jsonl.
class SamplesFile : public MetricsSink {
 public:
  // As MetricsFile::Create.
  static absl::StatusOr<std::unique_ptr<SamplesFile>> Create(const std::string& path,
                                                             int64_t steps_done);
  absl::Status OnStep(const StepMetrics&) override { return absl::OkStatus(); }
  absl::Status OnEvaluation(int64_t, const HeldOutLoss&, bool) override { return absl::OkStatus(); }
  absl::Status OnSamples(int64_t step, const std::vector<Sample>& samples) override;

 private:
  explicit SamplesFile(std::unique_ptr<MetricsFile> lines) : lines_(std::move(lines)) {}
  std::unique_ptr<MetricsFile> lines_;
};

}  // namespace fttrain
