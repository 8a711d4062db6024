#include "launch/plan/task.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launch/plan/adapter_form.h"
#include "launch/plan/base_form.h"
#include "launch/plan/words.h"
#include "runtime/files/user_path.h"

namespace fttrain {
namespace {

at::ScalarType ComputeOf(const config::RunConfig& run) {
  return ValueOf<config::ComputeType, at::ScalarType>(
      run.precision().compute(),
      {{config::COMPUTE_TYPE_FP32, at::kFloat}, {config::COMPUTE_TYPE_BF16, at::kBFloat16}});
}

RowFormat RowFormatOf(config::DataFormat format) {
  return ValueOf<config::DataFormat, RowFormat>(
      format, {{config::DATA_FORMAT_AUTO, RowFormat::kAuto},
               {config::DATA_FORMAT_MESSAGES, RowFormat::kMessages},
               {config::DATA_FORMAT_SHAREGPT, RowFormat::kShareGpt},
               {config::DATA_FORMAT_PROMPT_COMPLETION, RowFormat::kPromptCompletion},
               {config::DATA_FORMAT_ALPACA, RowFormat::kAlpaca},
               {config::DATA_FORMAT_TEXT, RowFormat::kText},
               {config::DATA_FORMAT_TOKENS, RowFormat::kTokens},
               {config::DATA_FORMAT_PREFERENCE, RowFormat::kPreference}});
}

// What was written of them, by the schema's names.
std::map<std::string, std::string> FieldsOf(const config::DataFields& fields) {
  std::map<std::string, std::string> out;
  const google::protobuf::Reflection& reflection = *fields.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> written;
  reflection.ListFields(fields, &written);
  for (const auto* field : written) out[field->name()] = reflection.GetString(fields, field);
  return out;
}

AdamWOptions AdamWOf(const config::OptimizerConfig& optimizer) {
  AdamWOptions adamw;
  adamw.beta1 = optimizer.beta1();
  adamw.beta2 = optimizer.beta2();
  adamw.eps = optimizer.eps();
  adamw.weight_decay = optimizer.weight_decay();
  return adamw;
}

LrSchedule LearningRateOf(const config::RunConfig& run) {
  LrSchedule schedule;
  schedule.kind = ValueOf<config::ScheduleName, LrSchedule::Kind>(
      run.schedule().name(), {{config::SCHEDULE_NAME_CONSTANT, LrSchedule::Kind::kConstant},
                              {config::SCHEDULE_NAME_LINEAR, LrSchedule::Kind::kLinear},
                              {config::SCHEDULE_NAME_COSINE, LrSchedule::Kind::kCosine}});
  schedule.peak = run.optimizer().learning_rate();
  schedule.warmup_steps = run.schedule().warmup_steps();
  schedule.total_steps = run.train().max_steps();
  schedule.min_ratio = run.schedule().min_ratio();
  return schedule;
}

// "; such rows are train.jsonl:6, train.jsonl:9 and 3 more".
std::string RowsWithoutTarget(const RowStream& rows, int64_t sequence_len) {
  constexpr size_t kNamed = 3;
  std::vector<std::string> sources;
  for (const Example& example : rows.examples()) {
    const auto length = static_cast<int64_t>(example.input_ids.size());
    if (CountTargets(example, std::min(length, sequence_len)) == 0)
      sources.push_back(example.source);
  }
  if (sources.empty()) return "";
  const size_t more = sources.size() - std::min(kNamed, sources.size());
  sources.resize(sources.size() - more);
  return absl::StrCat("; such rows are ", absl::StrJoin(sources, ", "),
                      more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

// What is written or, where nothing is, what config.json asks for.
absl::StatusOr<double> RouterLossOf(const config::LoadedConfig& loaded, const ModelSpec& model) {
  constexpr char kKey[] = "train.router_aux_loss_coef";
  const config::TrainConfig& train = loaded.config.train();
  if (!train.has_router_aux_loss_coef()) return model.router_loss.value_or(0);
  const double coefficient = train.router_aux_loss_coef();
  if (coefficient == 0 || model.router_loss) return coefficient;
  const auto found = loaded.where.find(kKey);
  return absl::InvalidArgumentError(absl::StrCat(
      found == loaded.where.end() ? "" : absl::StrCat(found->second, ": "), "'", kKey, "' ",
      coefficient, ": ",
      HasExperts(model) ? absl::StrCat("transformers has no loss of the routers of ", model.family,
                                       ", whose experts are balanced in other ways")
                        : "the model has no experts",
      "; leave the key out"));
}

}  // namespace

DataTask DataTaskOf(const config::LoadedConfig& loaded) {
  const config::DataConfig& data = loaded.config.data();
  DataTask task;
  const auto add = [](const auto& sources, std::vector<DatasetSpec>& files) {
    for (const auto& source : sources) {
      files.push_back({source.path(), RowFormatOf(source.format()), FieldsOf(source.fields())});
    }
  };
  add(data.train(), task.files);
  for (int i = 0; i < data.train_size(); ++i) {
    const config::DataSource& source = data.train(i);
    if (source.has_weight()) task.files[static_cast<size_t>(i)].weight = source.weight();
  }
  add(data.eval(), task.held_out_files);
  task.held_out_share = data.eval_fraction();
  task.chat = {ExpandHome(data.chat_template()), data.date()};
  task.train_on = ValueOf<config::TrainOn, TrainOn>(data.train_on(),
                                                    {{config::TRAIN_ON_ALL, TrainOn::kAll},
                                                     {config::TRAIN_ON_LAST, TrainOn::kLast},
                                                     {config::TRAIN_ON_PROMPT, TrainOn::kPrompt}});
  task.turns = ValueOf<config::Turns, Turns>(
      data.turns(), {{config::TURNS_WHOLE, Turns::kWhole}, {config::TURNS_EACH, Turns::kEach}});
  task.on_bad_row = ValueOf<config::OnBadRow, OnBadRow>(
      data.on_bad_row(),
      {{config::ON_BAD_ROW_STOP, OnBadRow::kStop}, {config::ON_BAD_ROW_SKIP, OnBadRow::kSkip}});
  return task;
}

RowOptions RowOptionsOf(const config::LoadedConfig& loaded) {
  const config::DataConfig& data = loaded.config.data();
  RowOptions rows;
  rows.sequence_len = data.sequence_len();
  rows.packing = data.packing() != config::PACKING_FALSE;
  rows.fit = data.packing() == config::PACKING_BEST_FIT ? RowFit::kBest : RowFit::kFirst;
  rows.shuffle = data.shuffle();
  rows.seed = static_cast<uint64_t>(loaded.config.train().seed());
  return rows;
}

absl::StatusOr<Task> TaskOf(const config::LoadedConfig& loaded, const ModelSpec& model,
                            int64_t microbatch_rows) {
  const config::RunConfig& run = loaded.config;
  Task task;
  task.model_path = run.model().path();
  task.model = model;
  task.form.compute = ComputeOf(run);
  task.form.train_base = run.adapter().method() == config::ADAPTER_METHOD_NONE;
  if (!task.form.train_base) {
    FT_ASSIGN_OR_RETURN(task.form.adapter, AdapterFormOf(WithOwnTargets(loaded, model), model));
  }
  task.init_from = run.adapter().init_from();
  FT_RETURN_IF_ERROR(SetBaseForm(loaded, model, /*training=*/true, task.form));
  task.adamw = AdamWOf(run.optimizer());
  task.moments = ValueOf<config::OptimizerState, MomentStorage>(
      run.optimizer().state(), {{config::OPTIMIZER_STATE_FP32, MomentStorage::kGradientDtype},
                                {config::OPTIMIZER_STATE_INT8, MomentStorage::kInt8}});
  task.learning_rate = LearningRateOf(run);
  task.max_grad_norm = run.optimizer().max_grad_norm();
  FT_ASSIGN_OR_RETURN(task.router_loss, RouterLossOf(loaded, model));
  task.guard = {run.train().max_skipped_steps(), run.train().skip_loss_spikes()};
  task.stopping = {run.train().early_stopping_patience(), run.train().early_stopping_threshold()};
  task.data = DataTaskOf(loaded);
  task.seed = static_cast<uint64_t>(run.train().seed());
  task.deterministic = run.train().deterministic();
  task.rows = RowOptionsOf(loaded);
  task.rows_per_step = microbatch_rows * run.train().gradient_accumulation_steps();
  task.steps = run.train().max_steps();
  task.epochs = run.train().num_epochs();
  return task;
}

absl::StatusOr<Task> EvaluationTaskOf(const config::LoadedConfig& loaded, const ModelSpec& model) {
  Task task;
  task.model_path = loaded.config.model().path();
  task.model = model;
  task.form.compute = ComputeOf(loaded.config);
  task.data = DataTaskOf(loaded);
  FT_RETURN_IF_ERROR(SetBaseForm(loaded, model, /*training=*/false, task.form));
  return task;
}

absl::Status SetSteps(Task& task, RowStream& rows) {
  if (task.epochs > 0) task.steps = rows.EndAfterEpochs(task.epochs, task.rows_per_step);
  task.learning_rate.total_steps = task.steps;
  task.row_documents = rows.summary().most_documents;
  const std::optional<int64_t> empty = rows.FirstStepWithoutTarget(task.steps, task.rows_per_step);
  if (!empty) return absl::OkStatus();
  const absl::Status status =
      NothingToLearn(*empty, RowsOfStep(rows.summary(), *empty, task.rows_per_step));
  return absl::Status(status.code(), absl::StrCat(std::string(status.message()),
                                                  RowsWithoutTarget(rows, task.rows.sequence_len)));
}

absl::Status CheckWarmup(const Task& task, const DatasetSummary& data,
                         const config::KeyLocations& where) {
  const int64_t warmup = task.learning_rate.warmup_steps;
  if (warmup <= task.steps) return absl::OkStatus();
  const auto found = where.find("schedule.warmup_steps");
  return absl::InvalidArgumentError(absl::StrCat(
      found == where.end() ? "" : absl::StrCat(found->second, ": "), "'schedule.warmup_steps' ",
      warmup, " is more than the run's ", task.steps, task.steps == 1 ? " step" : " steps",
      task.epochs > 0 ? absl::StrCat(" (train.num_epochs ", task.epochs, " = ", data.stream_rows,
                                     " rows, ", task.rows_per_step, " rows a step)")
                      : "",
      "; lower it, or train longer"));
}

void RecordRouterLoss(const Task& task, config::RunConfig& run) {
  run.mutable_train()->clear_router_aux_loss_coef();
  const bool asked = task.model.router_loss.value_or(0) > 0;
  if (task.router_loss > 0 || asked) {
    run.mutable_train()->set_router_aux_loss_coef(task.router_loss);
  }
}

absl::Status NothingToLearn(int64_t step, int64_t rows) {
  return absl::DataLossError(absl::StrCat(
      "step ", step + 1, ": ",
      rows == 1 ? "its one row has no token to learn"
                : absl::StrCat("none of its ", rows, " rows has a token to learn"),
      "; remove the rows whose labels are all masked, or set data.shuffle or data.packing, which "
      "drop them"));
}

}  // namespace fttrain
