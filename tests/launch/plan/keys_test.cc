// Every key of the schema reaches exactly one of task, layout and output, as the value that was
// written, or is refused; every word of a key is another value.
#include <gmock/gmock.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "configs/load_config.h"
#include "configs/schema.h"
#include "launch/plan/layout.h"
#include "launch/plan/output.h"
#include "tests/model/tiny_llama.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

// What keys may change. A field that is missing here makes its key change nothing: a failure.
using Fields = std::map<std::string, std::string>;

template <typename T>
std::string Text(const T& value) {
  if constexpr (std::is_enum_v<T>) return absl::StrCat(static_cast<int>(value));
  return testing::PrintToString(value);
}

void AddFiles(const std::string& name, const std::vector<DatasetSpec>& files, Fields& fields) {
  for (const DatasetSpec& source : files) {
    absl::StrAppend(&fields[name + ".path"], source.path);
    absl::StrAppend(&fields[name + ".format"], Text(source.format));
    absl::StrAppend(&fields[name + ".fields"],
                    absl::StrJoin(source.fields, ",", absl::PairFormatter(":")));
    absl::StrAppend(&fields[name + ".weight"], source.weight);
  }
}

void AddTask(const Task& task, Fields& fields) {
  fields["task.model_path"] = task.model_path;
  fields["task.form.train_base"] = Text(task.form.train_base);
  const AdapterForm adapter = task.form.adapter.value_or(AdapterForm{.r = 0});
  fields["task.r"] = Text(adapter.r);
  fields["task.alpha"] = Text(adapter.alpha);
  fields["task.dropout"] = Text(adapter.dropout);
  fields["task.use_rslora"] = Text(adapter.use_rslora);
  fields["task.target_modules"] =
      absl::StrCat(absl::StrJoin(adapter.target_modules.names, ","), adapter.target_modules.regex);
  fields["task.exclude_modules"] = absl::StrCat(absl::StrJoin(adapter.exclude_modules.names, ","),
                                                adapter.exclude_modules.regex);
  fields["task.target_parameters"] = absl::StrJoin(adapter.target_parameters, ",");
  fields["task.layers_to_transform"] = absl::StrJoin(adapter.layers_to_transform, ",");
  fields["task.layers_pattern"] = absl::StrJoin(adapter.layers_pattern, ",");
  fields["task.rank_pattern"] = absl::StrJoin(adapter.rank_pattern, ",", absl::PairFormatter(":"));
  fields["task.alpha_pattern"] =
      absl::StrJoin(adapter.alpha_pattern, ",", absl::PairFormatter(":"));
  fields["task.init_from"] = task.init_from.empty() ? "" : "ADAPTER";
  const Nf4Options nf4 = task.form.nf4.value_or(Nf4Options{0});
  fields["task.block_size"] = Text(nf4.block_size);
  fields["task.double_quant"] = Text(nf4.double_quant);
  fields["task.dense"] = absl::StrJoin(task.form.nf4_dense, ",");
  fields["task.nf4_experts"] = task.form.nf4_experts ? "true" : "false";
  fields["task.form.compute"] = c10::toString(task.form.compute);
  fields["task.beta1"] = Text(task.adamw.beta1);
  fields["task.beta2"] = Text(task.adamw.beta2);
  fields["task.eps"] = Text(task.adamw.eps);
  fields["task.weight_decay"] = Text(task.adamw.weight_decay);
  fields["task.moments"] = Text(task.moments);
  fields["task.lr.kind"] = Text(task.learning_rate.kind);
  fields["task.lr.peak"] = Text(task.learning_rate.peak);
  fields["task.lr.warmup"] = Text(task.learning_rate.warmup_steps);
  fields["task.lr.min_ratio"] = Text(task.learning_rate.min_ratio);
  fields["task.guard.max_in_a_row"] = Text(task.guard.max_in_a_row);
  fields["task.guard.spike"] = Text(task.guard.spike);
  fields["task.router_loss"] = Text(task.router_loss);
  fields["task.max_grad_norm"] = Text(task.max_grad_norm);
  fields["task.stopping.patience"] = Text(task.stopping.patience);
  fields["task.stopping.threshold"] = Text(task.stopping.threshold);
  AddFiles("task.data", task.data.files, fields);
  AddFiles("task.held_out", task.data.held_out_files, fields);
  fields["task.held_out_share"] = Text(task.data.held_out_share);
  fields["task.data.chat.name"] = task.data.chat.name;
  fields["task.data.chat.date"] = task.data.chat.date;
  fields["task.data.train_on"] = Text(task.data.train_on);
  fields["task.data.turns"] = Text(task.data.turns);
  fields["task.data.on_bad_row"] = Text(task.data.on_bad_row);
  fields["task.sequence_len"] = Text(task.rows.sequence_len);
  fields["task.packing"] = Text(task.rows.packing);
  fields["task.fit"] = Text(task.rows.fit);
  fields["task.shuffle"] = Text(task.rows.shuffle);
  fields["task.rows_per_step"] = Text(task.rows_per_step);
  EXPECT_EQ(task.rows.seed, task.seed);
  fields["task.seed"] = Text(task.seed);
  fields["task.deterministic"] = Text(task.deterministic);
  EXPECT_EQ(task.learning_rate.total_steps, task.steps);
  fields["task.steps"] = Text(task.steps);
  fields["task.epochs"] = Text(task.epochs);
}

void AddLayout(const Layout& layout, Fields& fields) {
  fields["layout.tp"] = Text(layout.mesh.tp);
  fields["layout.pp"] = Text(layout.mesh.pp);
  fields["layout.ep"] = Text(layout.mesh.ep);
  fields["layout.device"] = Text(layout.device);
  fields["layout.micro_batch_rows"] = Text(layout.micro_batch_rows);
  fields["layout.sequence_parallel"] = Text(layout.sequence_parallel);
  fields["layout.zero_stage"] = Text(layout.zero_stage);
  fields["layout.schedule"] = Text(layout.schedule);
  fields["layout.layers_per_run"] = absl::StrJoin(layout.layers_per_run, ",");
  fields["layout.recompute"] = Text(layout.recompute);
  fields["layout.activations"] = Text(layout.activations);
  fields["layout.embedding"] = Text(layout.embedding);
  fields["layout.frozen"] = Text(layout.frozen);
  fields["layout.state"] = Text(layout.state);
}

constexpr char kRun[] =
    "model: {path: m}\n"
    "adapter: {method: qlora}\n"
    "data: {train: [{path: a, format: messages}], eval: [{path: e, format: messages}]}\n"
    "train: {max_steps: 100}\n"
    "parallel: {pipeline: 2}\n"
    "output_dir: out\n";

// The head costs as much as a layer. With `experts` every layer has two, each as large as the MLP
// in their place, of which a token takes one.
ModelSpec Layers(int count, bool experts = false) {
  LlamaShape shape = TinyLlama(count);
  shape.vocab_size = 264;
  if (experts) {
    shape.moe = {
        .experts = 2, .top_k = 1, .intermediate_size = shape.intermediate_size, .stacked = true};
    shape.moe.router_loss = 0;
  }
  return LlamaLike(shape);
}

// ADAPTER is the folder of one with the defaults' settings.
config::LoadedConfig Load(std::vector<std::string> overrides) {
  static const TempFolder folder;
  folder.Write(
      "adapter_config.json",
      R"({"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": "all-linear"})");
  for (std::string& each : overrides)
    each = absl::StrReplaceAll(each, {{"ADAPTER", folder.path()}});
  auto loaded = config::ParseRunConfig(kRun, "run.yaml", overrides);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *std::move(loaded);
}

// On eight ranks. The task's rows are those of microbatches of one row, whatever the layout.
Fields FieldsOf(const std::vector<std::string>& overrides, bool experts = false) {
  const config::LoadedConfig loaded = Load(overrides);
  const ModelSpec model = Layers(6, experts);
  Fields fields;
  const auto layout = LayoutOf(loaded.config, model, 8);
  EXPECT_TRUE(layout.ok()) << layout.status();
  if (layout.ok()) AddLayout(*layout, fields);
  const auto task = TaskOf(loaded, model, /*microbatch_rows=*/1);
  EXPECT_TRUE(task.ok()) << task.status();
  if (task.ok()) AddTask(*task, fields);
  const Output output = OutputOf(loaded.config);
  fields["output.folder"] = output.folder;
  fields["output.scratch_folder"] = output.scratch_folder;
  fields["output.memory_limit_bytes"] = Text(output.memory_limit_bytes);
  fields["output.log_steps"] = Text(output.log_steps);
  fields["output.timeout_seconds"] = Text(output.timeout_seconds);
  fields["output.save_steps"] = Text(output.save_steps);
  fields["output.keep_checkpoints"] = Text(output.keep_checkpoints);
  fields["output.resume"] = output.resume;
  fields["output.allow_changed"] = absl::StrJoin(output.allow_changed, ",");
  fields["output.check_replicas_steps"] = Text(output.check_replicas_steps);
  fields["output.eval_steps"] = Text(output.eval_steps);
  fields["output.keeps_best"] = Text(output.keeps_best);
  fields["output.sample_prompts"] = output.sample_prompts;
  fields["output.sample_max_new_tokens"] = Text(output.sample_max_new_tokens);
  fields["output.disk_full_seconds"] = Text(output.disk_full_seconds);
  fields["output.token_cache"] = output.token_cache;
  return fields;
}

// "field=value field=value" where that is not what the run above has.
std::string ChangeOf(const std::vector<std::string>& overrides) {
  // Some keys only a model with experts can have.
  const bool experts = absl::c_any_of(overrides, [](const std::string& each) {
    return absl::StrContains(each, "target_parameters") ||
           absl::StrContains(each, "parallel.expert") ||
           absl::StrContains(each, "router_aux_loss_coef");
  });
  const Fields base = FieldsOf({}, experts);
  std::vector<std::string> changes;
  for (const auto& [field, value] : FieldsOf(overrides, experts)) {
    if (base.at(field) != value) changes.push_back(absl::StrCat(field, "=", value));
  }
  return absl::StrJoin(changes, " ");
}

struct Key {
  const char* override_;
  const char* change;
};

const Key kKeys[] = {
    {"model.path=n", "task.model_path=n"},
    {"adapter.r=7", "task.r=7"},
    {"adapter.alpha=7", "task.alpha=7"},
    {"adapter.dropout=0.5", "task.dropout=0.5"},
    {"adapter.target_modules=[v_proj]", "task.target_modules=v_proj"},
    {"adapter.target_modules=.*[qv]_proj", "task.target_modules=.*[qv]_proj"},
    {"adapter.exclude_modules=[v_proj]", "task.exclude_modules=v_proj"},
    {"adapter.exclude_modules=.*v_proj", "task.exclude_modules=.*v_proj"},
    {"adapter.target_parameters=[experts.down_proj]", "task.target_parameters=experts.down_proj"},
    {"adapter.layers_to_transform=[0, 2]", "task.layers_to_transform=0,2"},
    {"adapter.layers_pattern=layers", "task.layers_pattern=layers"},
    {"adapter.rank_pattern={v_proj: 3, 'layers.0.*': 4}",
     "task.rank_pattern=v_proj:3,layers.0.*:4"},
    {"adapter.alpha_pattern={v_proj: 3}", "task.alpha_pattern=v_proj:3"},
    {"adapter.use_rslora=true", "task.use_rslora=true"},
    {"adapter.init_from=ADAPTER", "task.init_from=ADAPTER"},
    {"adapter.quantization.double_quant=false", "task.double_quant=false"},
    {"adapter.quantization.block_size=128", "task.block_size=128"},
    {"adapter.quantization.lm_head=true", "task.dense="},
    {"adapter.quantization.experts=false", "task.nf4_experts=false"},
    {"data.train.0.path=b", "task.data.path=b"},
    {"data.train.0.format=text", "task.data.format=5"},
    {"data.eval.0.path=b", "task.held_out.path=b"},
    {"data.eval.0.format=text", "task.held_out.format=5"},
    {"data.eval_fraction=0.5", "task.held_out_share=0.5"},
    {"data.sequence_len=77", "task.sequence_len=77"},
    {"data.packing=false", "task.packing=false"},
    {"data.packing=best_fit", "task.fit=1"},
    {"data.train.0.weight=2.5", "task.data.weight=2.5"},
    {"data.cache_dir=c", "output.token_cache=c"},
    {"data.shuffle=false", "task.shuffle=false"},
    {"data.chat_template=gemma", "task.data.chat.name=gemma"},
    {"data.date=2025-01-02", "task.data.chat.date=2025-01-02"},
    {"data.train_on=prompt", "task.data.train_on=2"},
    {"data.turns=each", "task.data.turns=1"},
    {"data.on_bad_row=skip", "task.data.on_bad_row=1"},
    {"train.max_steps=7", "task.steps=7"},
    {"train.num_epochs=1.5", "task.epochs=1.5 task.steps=0"},
    {"train.micro_batch_size=3", "layout.micro_batch_rows=3"},
    {"train.gradient_accumulation_steps=5", "task.rows_per_step=5"},
    {"train.seed=7", "task.seed=7"},
    {"train.deterministic=true", "task.deterministic=true"},
    {"train.log_steps=7", "output.log_steps=7"},
    {"train.save_steps=7", "output.save_steps=7"},
    {"train.save_total_limit=7", "output.keep_checkpoints=7"},
    {"train.resume=never", "output.resume=never"},
    {"train.allow_changed=[data, train.max_steps]", "output.allow_changed=data,train.max_steps"},
    {"train.disk_full_wait=7", "output.disk_full_seconds=7"},
    {"train.max_skipped_steps=7", "task.guard.max_in_a_row=7"},
    {"train.skip_loss_spikes=7", "task.guard.spike=7"},
    {"train.check_replicas_steps=7", "output.check_replicas_steps=7"},
    {"train.eval_steps=7", "output.eval_steps=7"},
    {"train.load_best_model_at_end=true", "output.keeps_best=true"},
    {"train.sample_prompts=p", "output.sample_prompts=p"},
    {"train.sample_max_new_tokens=7", "output.sample_max_new_tokens=7"},
    {"train.early_stopping_patience=7", "task.stopping.patience=7"},
    {"train.early_stopping_threshold=0.5", "task.stopping.threshold=0.5"},
    {"train.router_aux_loss_coef=0.5", "task.router_loss=0.5"},
    {"optimizer.learning_rate=0.5", "task.lr.peak=0.5"},
    {"optimizer.weight_decay=0.5", "task.weight_decay=0.5"},
    {"optimizer.beta1=0.5", "task.beta1=0.5"},
    {"optimizer.beta2=0.5", "task.beta2=0.5"},
    {"optimizer.eps=0.5", "task.eps=0.5"},
    {"optimizer.max_grad_norm=0.5", "task.max_grad_norm=0.5"},
    {"optimizer.state=int8", "task.moments=1"},
    {"optimizer.device=host", "layout.state=1"},
    {"schedule.name=constant", "task.lr.kind=0"},
    {"schedule.warmup_steps=7", "task.lr.warmup=7"},
    {"schedule.min_ratio=0.5", "task.lr.min_ratio=0.5"},
    {"parallel.tensor=2", "layout.tp=2"},
    {"parallel.pipeline=1", "layout.layers_per_run=6 layout.pp=1"},
    {"parallel.zero_stage=3", "layout.zero_stage=3"},
    {"parallel.sequence_parallel=false", "layout.sequence_parallel=false"},
    {"parallel.pipeline_schedule=gpipe", "layout.schedule=0"},
    {"parallel.chunks_per_stage=3", "layout.layers_per_run=1,1,1,1,1,1"},
    {"parallel.layers_per_stage=[1, 5]", "layout.layers_per_run=1,5"},
    {"parallel.timeout_seconds=7", "output.timeout_seconds=7"},
    {"parallel.expert=2", "layout.ep=2"},
    {"memory.recompute=full", "layout.recompute=2"},
    {"memory.activations=host", "layout.activations=1"},
    {"memory.base_weights=disk", "layout.frozen=2"},
    {"memory.embedding=host", "layout.embedding=1"},
    {"memory.scratch_folder=s", "output.scratch_folder=s"},
    {"memory.limit=2", "output.memory_limit_bytes=2147483648"},
    {"precision.compute=fp32", "task.form.compute=Float"},
    {"device=cpu", "layout.device=2"},
    {"output_dir=o", "output.folder=o output.scratch_folder=o"},
    {"adapter.method=lora", "task.block_size=0 task.dense="},
};

TEST(Keys, EachReachesItsFieldAsItWasWrittenAndNoOther) {
  for (const Key& key : kKeys) EXPECT_EQ(ChangeOf({key.override_}), key.change) << key.override_;
  for (const std::string& name : config::KeysOf(*config::DataFields::descriptor())) {
    EXPECT_EQ(ChangeOf({absl::StrCat("data.train.0.fields.", name, "=their_key")}),
              absl::StrCat("task.data.fields=", name, ":their_key"));
    EXPECT_EQ(ChangeOf({absl::StrCat("data.eval.0.fields.", name, "=their_key")}),
              absl::StrCat("task.held_out.fields=", name, ":their_key"));
  }
}

TEST(Keys, AChatTemplateMayBeInTheHomeFolder) {
  setenv("HOME", "/h/me", 1);
  EXPECT_EQ(ChangeOf({"data.chat_template=~/mine.jinja"}), "task.data.chat.name=/h/me/mine.jinja");
}

// "data.train[].path" of "data.train.0.path=b".
std::string NameOf(const std::string& override_) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(override_, absl::MaxSplits('=', 1));
  return absl::StrReplaceAll(parts.first, {{".0.", "[]."}});
}

// The field of a dotted key.
const google::protobuf::FieldDescriptor& FieldOf(const std::string& key) {
  const google::protobuf::Descriptor* section = config::RunConfig::descriptor();
  const google::protobuf::FieldDescriptor* field = nullptr;
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(absl::StrReplaceAll(key, {{"[]", ""}}), '.'))) {
    field = section->FindFieldByName(name);
    section = field->message_type();
  }
  return *field;
}

std::vector<std::string> WordsOf(const std::string& key) {
  const google::protobuf::FieldDescriptor& field = FieldOf(key);
  return field.enum_type() == nullptr ? std::vector<std::string>()
                                      : config::EnumWords(*field.enum_type());
}

TEST(Keys, AreAllHereOrHaveOneValue) {
  std::set<std::string> known;
  for (const Key& key : kKeys) known.insert(NameOf(key.override_));
  for (const std::string& key : config::AllKeys(*config::RunConfig::descriptor())) {
    if (FieldOf(key).message_type() != nullptr) continue;  // its keys follow
    if (absl::StrContains(key, "[].fields.")) continue;    // above, all of them
    EXPECT_TRUE(known.count(key) == 1 || WordsOf(key).size() == 1) << key;
  }
}

TEST(Keys, EveryWordIsAnotherValue) {
  for (const std::string& key : config::AllKeys(*config::RunConfig::descriptor())) {
    std::set<Fields> seen;
    for (const std::string& word : WordsOf(key)) {
      const std::string override_ =
          absl::StrCat(absl::StrReplaceAll(key, {{"[]", ".0"}}), "=", word);
      EXPECT_TRUE(seen.insert(FieldsOf({override_})).second) << override_;
    }
  }
}

TEST(TaskOf, TakesTheRoutersLossOfConfigJsonWhereNothingIsWritten) {
  ModelSpec model = Layers(2, /*experts=*/true);
  const auto loss = [&](const std::vector<std::string>& overrides) {
    return TaskOf(Load(overrides), model, /*microbatch_rows=*/1)->router_loss;
  };
  EXPECT_EQ(loss({}), 0);
  model.router_loss = 0.25;
  EXPECT_EQ(loss({}), 0.25);
  EXPECT_EQ(loss({"train.router_aux_loss_coef=0.5"}), 0.5);
  EXPECT_EQ(loss({"train.router_aux_loss_coef=0"}), 0);
}

TEST(TaskOf, RefusesARoutersLossThatTheModelHasNot) {
  const auto error = [](const ModelSpec& model) {
    return TaskOf(Load({"train.router_aux_loss_coef=0.5"}), model, 1).status().ToString();
  };
  EXPECT_THAT(error(Layers(2)), HasSubstr("'train.router_aux_loss_coef' 0.5: the model has no "
                                          "experts"));
  ModelSpec other = Layers(2, /*experts=*/true);
  other.family = "deepseek_v3";
  other.router_loss.reset();
  EXPECT_THAT(error(other), HasSubstr("'train.router_aux_loss_coef' 0.5: transformers has no loss "
                                      "of the routers of deepseek_v3"));
  EXPECT_TRUE(TaskOf(Load({"train.router_aux_loss_coef=0"}), other, 1).ok());
}

TEST(RecordRouterLoss, WritesTheKeyWhereItIsNotWhatTheModelIsWithoutIt) {
  const auto recorded = [](std::optional<double> of_model, double of_task) {
    Task task;
    task.model.router_loss = of_model;
    task.router_loss = of_task;
    config::RunConfig run;
    run.mutable_train()->set_router_aux_loss_coef(7);
    RecordRouterLoss(task, run);
    return run.train().has_router_aux_loss_coef() ? run.train().router_aux_loss_coef() : -1;
  };
  EXPECT_EQ(recorded(std::nullopt, 0), -1);
  EXPECT_EQ(recorded(0.0, 0), -1);
  EXPECT_EQ(recorded(0.0, 0.5), 0.5);
  EXPECT_EQ(recorded(0.25, 0.25), 0.25);
  EXPECT_EQ(recorded(0.25, 0), 0);
}

absl::StatusOr<std::vector<int>> RunsOf(const std::vector<std::string>& overrides) {
  const auto layout = LayoutOf(Load(overrides).config, Layers(5), 6);
  if (!layout.ok()) return layout.status();
  return layout->layers_per_run;
}

TEST(LayoutOf, RunsOfLayersAreTheConfigsOrBalancedOrSingle) {
  EXPECT_EQ(RunsOf({}).value(), std::vector<int>({3, 2}));
  EXPECT_EQ(RunsOf({"parallel.layers_per_stage=[1, 4]"}).value(), std::vector<int>({1, 4}));
  EXPECT_EQ(RunsOf({"parallel.pipeline_schedule=layer_major"}).value(), std::vector<int>(5, 1));
  EXPECT_THAT(RunsOf({"parallel.layers_per_stage=[1, 5]"}).status().ToString(),
              HasSubstr("[1, 5] sums to 6, but the model has 5 layers"));
  EXPECT_THAT(RunsOf({"parallel.chunks_per_stage=3"}).status().ToString(),
              HasSubstr("2 x chunks_per_stage 3 = 6 runs of layers, but the model has only 5"));
}

}  // namespace
}  // namespace fttrain
