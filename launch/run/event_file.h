// A run's curves as TensorBoard reads them, under the tags of transformers' Trainer.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/run/metrics_sink.h"

namespace fttrain {

// The bytes of a record (TensorFlow's TFRecord): length, its checksum, data, its checksum.
std::string RecordOf(std::string_view data);
// CRC-32C (Castagnoli), which zlib has not.
uint32_t Crc32c(std::string_view data);

// FOLDER/events.out.tfevents.SECONDS.HOST.PID, a file of its own for every start of the run. Curves
// are a convenience: what cannot be written is told once and does not end the run.
class EventFile : public MetricsSink {
 public:
  // Curves of steps beyond `steps_done`, which an earlier start has left, are not shown any more.
  static absl::StatusOr<std::unique_ptr<EventFile>> Create(const std::string& folder,
                                                           int64_t steps_done);
  ~EventFile() override;

  absl::Status OnStep(const StepMetrics& metrics) override;
  absl::Status OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool lowest) override;

 private:
  using Scalars = std::vector<std::pair<std::string_view, double>>;
  EventFile(int descriptor, std::string path) : file_(descriptor), path_(std::move(path)) {}
  void Write(int64_t step, const Scalars& scalars);
  void Append(const std::string& record);

  int file_;
  std::string path_;
};

}  // namespace fttrain
