// The config's words as the options of the modules below. Pure.
#pragma once

#include "configs/run_config.pb.h"
#include "data/chat/template.h"
#include "data/formats/dataset.h"
#include "data/packing/packer.h"
#include "model/config/model_config.h"
#include "model/network/transformer.h"
#include "parallel/optimizer/lr_schedule.h"
#include "parallel/optimizer/optimizer.h"
#include "parallel/pipeline/schedules.h"
#include "runtime/process/device.h"

namespace fttrain {

// All take a config with defaults filled and validated.
DeviceKind DeviceOf(const config::RunConfig& run);
RowOptions RowOptionsOf(const config::RunConfig& run);
StepShape StepShapeOf(const config::RunConfig& run, int dp_size);
StorageOptions StorageOptionsOf(const config::RunConfig& run);  // but disk_folder
AdamWOptions AdamWOptionsOf(const config::RunConfig& run);
// Whether every rank always has its weights on its device (ModelOptions::weights_stay).
bool WeightsStay(const config::RunConfig& run);
PipelineKind PipelineKindOf(const config::RunConfig& run);
// Layers of every run of the model (network/runs.h): the config's, one each under layer_major, else
// balanced. InvalidArgument if the model cannot be cut so.
absl::StatusOr<std::vector<int>> LayersPerRunOf(const config::RunConfig& run,
                                                const ModelSpec& model);
LrSchedule LrScheduleOf(const config::RunConfig& run, int64_t total_steps);
ChatForm ChatFormOf(const config::RunConfig& run);
RowFormat RowFormatOf(config::DataFormat format);  // of a supported format
// Resolves adapter.target_modules against the model. InvalidArgument as ResolveTargetModules.
absl::StatusOr<ModelOptions> ModelOptionsOf(const config::RunConfig& run, const ModelSpec& model);

}  // namespace fttrain
