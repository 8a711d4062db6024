#include "launch/plan/task.h"

#include "launch/plan/base_form.h"
#include "launch/plan/words.h"
#include "model/config/checks.h"

namespace fttrain {
namespace {

at::ScalarType ComputeOf(const config::RunConfig& run) {
  return ValueOf<config::ComputeType, at::ScalarType>(
      run.precision().compute(),
      {{config::COMPUTE_TYPE_FP32, at::kFloat}, {config::COMPUTE_TYPE_BF16, at::kBFloat16}});
}

RowFormat RowFormatOf(config::DataFormat format) {
  return ValueOf<config::DataFormat, RowFormat>(
      format, {{config::DATA_FORMAT_MESSAGES, RowFormat::kMessages},
               {config::DATA_FORMAT_PROMPT_COMPLETION, RowFormat::kPromptCompletion},
               {config::DATA_FORMAT_ALPACA, RowFormat::kAlpaca},
               {config::DATA_FORMAT_TEXT, RowFormat::kText},
               {config::DATA_FORMAT_TOKENS, RowFormat::kTokens}});
}

ChatForm ChatFormOf(const config::RunConfig& run) {
  return ValueOf<config::ChatTemplate, ChatForm>(
      run.data().chat_template(), {{config::CHAT_TEMPLATE_AUTO, ChatForm::kAuto},
                                   {config::CHAT_TEMPLATE_CHATML, ChatForm::kChatml},
                                   {config::CHAT_TEMPLATE_LLAMA3, ChatForm::kLlama3},
                                   {config::CHAT_TEMPLATE_LLAMA3_1, ChatForm::kLlama31},
                                   {config::CHAT_TEMPLATE_GEMMA, ChatForm::kGemma}});
}

absl::StatusOr<AdapterForm> AdapterOf(const config::RunConfig& run, const ModelSpec& model) {
  const config::AdapterConfig& adapter = run.adapter();
  FT_ASSIGN_OR_RETURN(std::vector<std::string> targets,
                      ResolveTargetModules(model, {adapter.target_modules().begin(),
                                                   adapter.target_modules().end()}));
  return AdapterForm{adapter.r(),          adapter.alpha(),    adapter.dropout(),
                     adapter.use_rslora(), std::move(targets), run.model().path()};
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

}  // namespace

absl::StatusOr<Task> TaskOf(const config::LoadedConfig& loaded, const ModelSpec& model,
                            int64_t microbatch_rows) {
  const config::RunConfig& run = loaded.config;
  Task task;
  task.model_path = run.model().path();
  task.model = model;
  task.form.compute = ComputeOf(run);
  task.form.train_base = run.adapter().method() == config::ADAPTER_METHOD_NONE;
  if (!task.form.train_base) {
    FT_ASSIGN_OR_RETURN(task.form.adapter, AdapterOf(run, model));
  }
  task.init_from = run.adapter().init_from();
  FT_RETURN_IF_ERROR(SetBaseForm(loaded, model, /*training=*/true, task.form));
  task.adamw = AdamWOf(run.optimizer());
  task.moments = ValueOf<config::OptimizerState, MomentStorage>(
      run.optimizer().state(), {{config::OPTIMIZER_STATE_FP32, MomentStorage::kGradientDtype},
                                {config::OPTIMIZER_STATE_INT8, MomentStorage::kInt8}});
  task.learning_rate = LearningRateOf(run);
  task.max_grad_norm = run.optimizer().max_grad_norm();
  for (const config::DataSource& source : run.data().train()) {
    task.data.push_back({source.path(), RowFormatOf(source.format())});
  }
  task.chat_form = ChatFormOf(run);
  task.seed = static_cast<uint64_t>(run.train().seed());
  task.deterministic = run.train().deterministic();
  task.rows = {run.data().sequence_len(), run.data().packing(), run.data().shuffle(), task.seed};
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
  task.chat_form = ChatFormOf(loaded.config);
  FT_RETURN_IF_ERROR(SetBaseForm(loaded, model, /*training=*/false, task.form));
  return task;
}

void SetSteps(Task& task, RowStream& rows) {
  if (task.epochs > 0) task.steps = rows.StepsForEpochs(task.epochs, task.rows_per_step);
  task.learning_rate.total_steps = task.steps;
  task.row_documents = rows.summary().most_documents;
}

}  // namespace fttrain
