// The training step, on one screen.
#pragma once

#include "data/packing/packer.h"
#include "launch/run/metrics.h"
#include "model/network/transformer.h"
#include "parallel/optimizer/lr_schedule.h"
#include "parallel/optimizer/optimizer.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_links.h"

namespace fttrain {

struct TrainerOptions {
  int64_t steps = 0;
  StepShape shape;  // rows of a step
  PipelineKind pipeline = PipelineKind::kOneForwardOneBackward;
  LrSchedule schedule;
  double max_grad_norm = 1.0;
  uint64_t seed = 0;
};

// Sees what a step computes; every rank has one or none has. May be collective.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  // Gradients are final (Optimizer::SyncGradients) and may be changed: norm and update follow.
  // `step` counts from 0.
  virtual void OnGradients(int64_t step, double loss) = 0;
  // Parameters are updated.
  virtual void OnUpdated(const StepMetrics& metrics) = 0;
};

// All references must outlive the trainer.
class Trainer {
 public:
  Trainer(const TrainerOptions& options, const Mesh& mesh, StageLinks& links, c10::Device device,
          RowStream& rows, Transformer& model, Optimizer& optimizer);

  // One optimizer step; `step` counts from 0. Collective over the mesh: every rank calls with the
  // same step. Errors, on every rank alike, with parameters untouched: Aborted when loss or
  // gradient norm is not finite, DataLoss when no row of the step has a target.
  absl::StatusOr<StepMetrics> Step(int64_t step);

  // `observer` sees every step from here on; it must outlive the trainer.
  void Observe(StepObserver& observer) { observer_ = &observer; }

 private:
  TrainerOptions options_;
  const Mesh* mesh_;
  StageLinks* links_;
  c10::Device device_;
  RowStream* rows_;
  Transformer* model_;
  Optimizer* optimizer_;
  StepObserver* observer_ = nullptr;
};

}  // namespace fttrain
