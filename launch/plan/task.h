// What a run computes. It is the same in every layout (layout.h): equal tasks give equal numbers,
// with the routers' loss in microbatches of as many rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "configs/load_config.h"
#include "data/chat/template.h"
#include "data/formats/dataset.h"
#include "data/packing/packer.h"
#include "model/config/spec.h"
#include "model/linears/parameters.h"
#include "parallel/optimizer/lr_schedule.h"
#include "parallel/optimizer/optimizer.h"

namespace fttrain {

// Which rows a run learns from, and what of them.
struct DataTask {
  std::vector<DatasetSpec> files;
  std::vector<DatasetSpec> held_out_files;
  double held_out_share = 0;  // of the rows of `files`, where there are no files of their own
  ChatOptions chat;
  TrainOn train_on = TrainOn::kAll;
  Turns turns = Turns::kWhole;
  OnBadRow on_bad_row = OnBadRow::kStop;
  int64_t most_rows = 0;  // of each file, the first; 0: all
};

// Which steps nothing is learnt from (loss_guard.h).
struct GuardOptions {
  int64_t max_in_a_row = 0;  // of such steps; one more ends the run
  double spike = 0;          // standard deviations above the mean that a loss may have; 0: any
};

// When a run ends before its last step (run/evaluations.h).
struct StoppingOptions {
  int64_t patience = 0;  // evaluations in a row without a lower loss; 0: it never does
  double threshold = 0;  // by which a loss must be lower than the lowest
};

struct Task {
  std::string model_path;
  ModelSpec model;
  // Neither all weights nor an adapter is trained where a model is evaluated. Compute in kDouble is
  // for tests.
  ParameterForm form;
  std::string init_from;  // of the adapter, a PEFT folder; empty: fresh

  AdamWOptions adamw;  // but where its state is
  // In 8 bits a moment's code depends on its block: of such a task the layout may change updates
  // (StorageOptions::moments says when).
  MomentStorage moments = MomentStorage::kGradientDtype;
  LrSchedule learning_rate;
  double max_grad_norm = 1.0;
  double router_loss = 0;  // coefficient of the routers' loss (blocks/router_balance.h); 0: none
  GuardOptions guard;
  StoppingOptions stopping;

  DataTask data;
  RowOptions rows;
  int64_t rows_per_step = 1;
  uint64_t seed = 0;  // of fresh adapters and dropout
  // Equal runs give equal bits on a GPU too; on a CPU they do in any case.
  bool deterministic = false;
  int64_t steps = 0;
  double epochs = 0;          // above 0: SetSteps turns it into steps
  int64_t row_documents = 1;  // of a row, at most; SetSteps
};

// The task of a config with defaults filled and validated. The config counts a step's rows in
// microbatches: `microbatch_rows` are those of one, of all replicas together. Errors as
// AdapterFormOf and SetBaseForm; InvalidArgument for a routers' loss that the model has not.
absl::StatusOr<Task> TaskOf(const config::LoadedConfig& loaded, const ModelSpec& model,
                            int64_t microbatch_rows);
// What of a task the rows alone decide on: for commands that look at data without a model. `loaded`
// has no more than defaults filled.
DataTask DataTaskOf(const config::LoadedConfig& loaded);
RowOptions RowOptionsOf(const config::LoadedConfig& loaded);

// The model alone, for commands that evaluate; `loaded` has no more than defaults filled.
absl::StatusOr<Task> EvaluationTaskOf(const config::LoadedConfig& loaded, const ModelSpec& model);

// What the rows decide: the steps of `epochs`, after which the rows end, with them the learning
// rate's end, and how many documents a row may have. DataLoss where a step would have no target.
absl::Status SetSteps(Task& task, RowStream& rows);

// InvalidArgument, with the key's place, if warm-up is longer than the run, whose steps and rows
// are known once SetSteps has been called.
absl::Status CheckWarmup(const Task& task, const DatasetSummary& data,
                         const config::KeyLocations& where);

// train.router_aux_loss_coef becomes what the task has, for the resolved config: a model without
// such a loss, or one that is asked for none, has no key.
void RecordRouterLoss(const Task& task, config::RunConfig& run);

// The error of a step without a target, which counts from 0.
absl::Status NothingToLearn(int64_t step, int64_t rows);

}  // namespace fttrain
