#include "configs/validate_config.h"

#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/civil_time.h"
#include "configs/faults.h"
#include "configs/result_keys.h"
#include "configs/schema.h"

namespace fttrain::config {
namespace {

// Faults by key.
class KeyFaults {
 public:
  explicit KeyFaults(const KeyLocations& where) : where_(where) {}

  // `key` is what the fault is found under; a key that was not written stands under its section.
  void Add(const std::string& key, const std::string& message) {
    auto found = where_.find(key);
    if (found == where_.end()) found = where_.find(key.substr(0, key.find('.')));
    if (found == where_.end()) {
      faults_.Add(kNoLine, message);
    } else {
      faults_.Add(LineIn(found->second), absl::StrCat(found->second, ": ", message));
    }
  }

  absl::Status AsStatus() const { return faults_.AsStatus(); }

 private:
  static constexpr int kNoLine = std::numeric_limits<int>::max();

  // 7 of "run.yaml:7"; overrides come after every line.
  static int LineIn(const std::string& location) {
    int line = kNoLine;
    return absl::SimpleAtoi(location.substr(location.rfind(':') + 1), &line) ? line : kNoLine;
  }

  const KeyLocations& where_;
  Faults faults_;
};

bool HasNoModules(const AdapterConfig& adapter) {
  return adapter.target_modules_size() == 1 && adapter.target_modules(0) == kNoNames;
}

// What is said of modules means nothing where there are none.
void CheckNoModules(const AdapterConfig& adapter, KeyFaults& faults) {
  if (adapter.target_parameters().empty() && !adapter.has_init_from()) {
    faults.Add("adapter.target_modules",
               "'adapter.target_modules' is an empty list: it may be one beside "
               "adapter.target_parameters");
  }
  const auto meaningless = [&](bool written, const char* key) {
    if (!written) return;
    faults.Add(key, absl::StrCat("'", key,
                                 "' has no meaning with adapter.target_modules []: ", "remove it"));
  };
  meaningless(!adapter.exclude_modules().empty(), "adapter.exclude_modules");
  meaningless(!adapter.layers_to_transform().empty(), "adapter.layers_to_transform");
  meaningless(!adapter.layers_pattern().empty(), "adapter.layers_pattern");
}

void CheckTargets(const AdapterConfig& adapter, KeyFaults& faults) {
  std::set<std::string> seen;
  for (int i = 0; i < adapter.target_modules_size(); ++i) {
    const std::string& name = adapter.target_modules(i);
    const std::string key = absl::StrCat("adapter.target_modules[", i, "]");
    if (!seen.insert(name).second) {
      faults.Add(key, absl::StrCat("'adapter.target_modules' has '", name, "' twice"));
    }
    if (name == "all-linear" && adapter.target_modules_size() > 1) {
      faults.Add(key, "'adapter.target_modules': all-linear stands alone, not in a list");
    }
  }
}

void CheckParameters(const AdapterConfig& adapter, KeyFaults& faults) {
  std::set<std::string> seen;
  for (int i = 0; i < adapter.target_parameters_size(); ++i) {
    const std::string& name = adapter.target_parameters(i);
    if (seen.insert(name).second) continue;
    faults.Add(absl::StrCat("adapter.target_parameters[", i, "]"),
               absl::StrCat("'adapter.target_parameters' has '", name, "' twice"));
  }
  if (!adapter.target_parameters().empty() && adapter.dropout() > 0) {
    faults.Add("adapter.dropout",
               "'adapter.dropout' is above 0, which adapters on parameters "
               "(adapter.target_parameters) do not have in PEFT: set it to 0");
  }
}

void CheckLayers(const AdapterConfig& adapter, KeyFaults& faults) {
  if (adapter.layers_to_transform().empty() && !adapter.has_init_from() &&
      !adapter.layers_pattern().empty()) {
    faults.Add(
        "adapter.layers_pattern",
        "'adapter.layers_pattern' has no meaning without adapter.layers_to_transform: remove "
        "it");
  }
  const auto& targets = adapter.target_modules();
  if (!adapter.layers_to_transform().empty() && targets.size() == 1 && IsRegex(targets[0])) {
    faults.Add("adapter.layers_to_transform",
               "'adapter.layers_to_transform' has no meaning with adapter.target_modules as a "
               "regular expression: write the layers into that");
  }
}

void CheckAdapter(const AdapterConfig& adapter, KeyFaults& faults) {
  if (adapter.method() == ADAPTER_METHOD_NONE) {
    std::vector<const google::protobuf::FieldDescriptor*> written;
    adapter.GetReflection()->ListFields(adapter, &written);
    for (const auto* field : written) {
      if (field->name() == "method") continue;
      const std::string key = absl::StrCat("adapter.", field->name());
      faults.Add(key, absl::StrCat("'", key, "' has no meaning with adapter.method none, which ",
                                   "trains all weights: remove it, or use method lora"));
    }
    return;
  }
  if (HasNoModules(adapter)) {
    CheckNoModules(adapter, faults);
  } else {
    CheckTargets(adapter, faults);
    CheckLayers(adapter, faults);
  }
  CheckParameters(adapter, faults);
  if (!adapter.has_quantization()) return;
  if (adapter.method() != ADAPTER_METHOD_QLORA) {
    faults.Add("adapter.quantization", "'adapter.quantization' needs adapter.method qlora");
  }
  const int block = adapter.quantization().block_size();
  if ((block & (block - 1)) != 0) {
    faults.Add(
        "adapter.quantization.block_size",
        absl::StrCat("'adapter.quantization.block_size' must be a power of two, not ", block));
  }
}

void CheckMemory(const RunConfig& config, KeyFaults& faults) {
  if (config.adapter().method() != ADAPTER_METHOD_NONE) return;
  if (config.memory().embedding() == EMBEDDING_PLACE_HOST) {
    faults.Add("memory.embedding",
               "'memory.embedding' host is for a frozen table; adapter.method none trains it: use "
               "device");
  }
}

template <typename Sources>
void CheckSources(const Sources& sources, const std::string& list, KeyFaults& faults) {
  for (int i = 0; i < sources.size(); ++i) {
    const std::string key = absl::StrCat(list, "[", i, "]");
    if (!sources[i].has_path()) faults.Add(key, absl::StrCat("'", key, "' has no path"));
  }
}

// YYYY-MM-DD of a day that there was or will be.
bool IsDay(const std::string& text) {
  absl::CivilDay day;
  return text.size() == 10 && absl::ParseCivilTime(text, &day) && day.year() >= 1 &&
         absl::FormatCivilTime(day) == text;
}

void CheckData(const RunConfig& config, KeyFaults& faults) {
  const DataConfig& data = config.data();
  if (data.train().empty()) {
    faults.Add("data.train", "'data.train' is missing or empty: write train: [{path: FILE}]");
  }
  CheckSources(data.train(), "data.train", faults);
  CheckSources(data.eval(), "data.eval", faults);
  if (!IsDay(data.date())) {
    faults.Add("data.date", absl::StrCat("'data.date' must be a day written YYYY-MM-DD, not '",
                                         data.date(), "'"));
  }
  if (data.turns() == TURNS_EACH && data.train_on() == TRAIN_ON_PROMPT) {
    faults.Add("data.turns",
               "'data.turns' each with 'data.train_on' prompt learns the turns before an answer "
               "again and again: choose one of the two");
  }
  const int64_t tokens = int64_t{config.train().micro_batch_size()} * data.sequence_len();
  if (tokens > std::numeric_limits<int32_t>::max()) {
    faults.Add("train.micro_batch_size",
               absl::StrCat("a microbatch of train.micro_batch_size ",
                            config.train().micro_batch_size(), " x data.sequence_len ",
                            data.sequence_len(), " = ", tokens, " tokens exceeds 2147483647"));
  }
}

void CheckTrain(const RunConfig& config, KeyFaults& faults) {
  const TrainConfig& train = config.train();
  if (train.has_max_steps() == train.has_num_epochs()) {
    faults.Add(train.has_max_steps() ? "train.num_epochs" : "train",
               train.has_max_steps()
                   ? "'train.max_steps' and 'train.num_epochs' exclude each other: remove one"
                   : "'train.max_steps' or 'train.num_epochs' is missing: how long to train");
  }
  const ScheduleConfig& schedule = config.schedule();
  if (train.has_max_steps() && schedule.warmup_steps() > train.max_steps()) {
    faults.Add("schedule.warmup_steps",
               absl::StrCat("'schedule.warmup_steps' ", schedule.warmup_steps(),
                            " exceeds train.max_steps ", train.max_steps()));
  }
  if (schedule.name() == SCHEDULE_NAME_CONSTANT && schedule.min_ratio() > 0) {
    faults.Add("schedule.min_ratio",
               "'schedule.min_ratio' has no meaning with schedule.name constant: remove it");
  }
}

// Keys that mean nothing without something held out, or without the evaluations of a run.
void CheckEvaluation(const RunConfig& config, KeyFaults& faults) {
  const TrainConfig& train = config.train();
  const bool has_files = config.data().eval_size() > 0;
  const bool has_share = config.data().eval_fraction() > 0;
  if (has_files && has_share) {
    faults.Add("data.eval_fraction",
               "'data.eval_fraction' and 'data.eval' both say what is held out: remove one");
  }
  if (!has_files && !has_share) {
    for (const auto& [key, asked] :
         {std::pair{"train.eval_steps", train.eval_steps() > 0},
          {"train.load_best_model_at_end", train.load_best_model_at_end()},
          {"train.sample_prompts", train.has_sample_prompts()},
          {"train.early_stopping_patience", train.early_stopping_patience() > 0}}) {
      if (!asked) continue;
      faults.Add(key, absl::StrCat("'", key,
                                   "' needs something to evaluate: give data.eval, a list of "
                                   "files, or data.eval_fraction, a share of data.train"));
    }
    return;
  }
  if (train.early_stopping_patience() > 0 && train.eval_steps() == 0) {
    faults.Add("train.early_stopping_patience",
               "'train.early_stopping_patience' counts the evaluations of a run: set "
               "train.eval_steps");
  }
  if (train.load_best_model_at_end() && train.eval_steps() == 0) {
    faults.Add("train.load_best_model_at_end",
               "'train.load_best_model_at_end' chooses among the evaluations of a run: set "
               "train.eval_steps");
  }
  if (train.has_sample_max_new_tokens() && !train.has_sample_prompts()) {
    faults.Add("train.sample_max_new_tokens",
               "'train.sample_max_new_tokens' has no meaning without train.sample_prompts");
  }
  if (train.early_stopping_threshold() > 0 && train.early_stopping_patience() == 0) {
    faults.Add("train.early_stopping_threshold",
               "'train.early_stopping_threshold' has no meaning without "
               "train.early_stopping_patience");
  }
}

// Frozen weights that are not always on the device.
void CheckBaseWeights(const RunConfig& config, KeyFaults& faults) {
  const WeightPlace place = config.memory().base_weights();
  if (place == WEIGHT_PLACE_DEVICE) return;
  if (config.adapter().method() == ADAPTER_METHOD_NONE) {
    faults.Add("memory.base_weights",
               absl::StrCat("'memory.base_weights' ", Word(place),
                            " is for frozen weights, but adapter.method none trains all of "
                            "them: use parallel.zero_stage 3, optimizer.device host, or an "
                            "adapter"));
  }
}

void CheckPipeline(const ParallelConfig& parallel, KeyFaults& faults) {
  const int pipeline = parallel.pipeline(), chunks = parallel.chunks_per_stage();
  const PipelineSchedule schedule = parallel.pipeline_schedule();
  const bool layer_major = schedule == PIPELINE_SCHEDULE_LAYER_MAJOR;
  const int given = parallel.layers_per_stage_size();
  if (layer_major && pipeline > 1) {
    faults.Add("parallel.pipeline_schedule",
               "'parallel.pipeline_schedule' layer_major takes every microbatch through a layer "
               "before the next, so with parallel.pipeline above 1 each stage would wait until the "
               "one before has done all its layers; use 1f1b or interleaved, or parallel.tensor");
  }
  if (schedule == PIPELINE_SCHEDULE_INTERLEAVED && chunks == 1) {
    faults.Add("parallel.pipeline_schedule",
               "'parallel.pipeline_schedule' interleaved needs parallel.chunks_per_stage of at "
               "least 2; with one chunk use 1f1b");
  }
  if (schedule != PIPELINE_SCHEDULE_INTERLEAVED && chunks > 1) {
    faults.Add(
        "parallel.chunks_per_stage",
        absl::StrCat("'parallel.chunks_per_stage' ", chunks,
                     " is for parallel.pipeline_schedule interleaved, not ", Word(schedule)));
  }
  if (given > 0 && !layer_major && given != pipeline * chunks) {
    faults.Add("parallel.layers_per_stage",
               absl::StrCat("'parallel.layers_per_stage' has ", given,
                            " numbers, but parallel.pipeline ", pipeline, " x chunks_per_stage ",
                            chunks, " = ", pipeline * chunks, " runs of layers"));
  }
  if (given > 0 && layer_major) {
    faults.Add(
        "parallel.layers_per_stage",
        "'parallel.layers_per_stage' has no meaning with pipeline_schedule layer_major, whose "
        "runs are single layers: remove it");
  }
}

std::string Replicas(int64_t count) {
  return absl::StrCat(count, count == 1 ? " replica" : " replicas");
}

// A word of a shell's line.
std::string ShellWord(const std::string& text) {
  constexpr char kPlain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// What `loaded` was made of, as it follows the program's name.
std::string ArgumentsOf(const LoadedConfig& loaded) {
  std::string arguments = absl::StrCat(" ", ShellWord(absl::StrCat("--config=", loaded.filename)));
  for (const std::string& text : loaded.overrides) {
    absl::StrAppend(&arguments, " --set ", ShellWord(text));
  }
  return arguments;
}

// The ranks that divide the experts are some of the replicas.
void CheckExperts(const ParallelConfig& parallel, int64_t replicas, KeyFaults& faults) {
  const int64_t expert = parallel.expert();
  if (replicas % expert == 0) return;
  std::vector<int64_t> fits;
  for (int64_t size = 1; size <= replicas; ++size) {
    if (replicas % size == 0) fits.push_back(size);
  }
  faults.Add("parallel.expert",
             absl::StrCat("'parallel.expert' ", expert, " must divide the ", Replicas(replicas),
                          " of these ranks, ranks / (parallel.tensor ", parallel.tensor(),
                          " x parallel.pipeline ", parallel.pipeline(), "); it can be ",
                          absl::StrJoin(fits, ", "), ", or start ",
                          parallel.tensor() * int64_t{parallel.pipeline()} * expert, " ranks"));
}

// The product of the model axes must divide the ranks. Proposes rank counts that the layout fits
// and tensor sizes that fit the ranks.
void CheckLayout(const LoadedConfig& loaded, int world_size, KeyFaults& faults) {
  const ParallelConfig& parallel = loaded.config.parallel();
  const int64_t tensor = parallel.tensor(), pipeline = parallel.pipeline();
  const int64_t group = tensor * pipeline;
  if (world_size % group == 0) return CheckExperts(parallel, world_size / group, faults);
  const std::string product =
      absl::StrCat("parallel.tensor ", tensor, " x parallel.pipeline ", pipeline, " = ", group);
  const int64_t below = world_size / group * group, above = below + group;
  std::vector<std::string> remedies;
  for (const int64_t ranks : {below, above}) {
    if (ranks == 0) continue;
    remedies.push_back(absl::StrCat("'mpirun -np ", ranks, " fttrain", ArgumentsOf(loaded), "' (",
                                    Replicas(ranks / group), ")"));
  }
  for (int64_t size = tensor - 1; size >= 1; --size) {
    if (world_size % (size * pipeline) != 0) continue;
    remedies.push_back(absl::StrCat("parallel.tensor ", size, " on these ", world_size,
                                    world_size == 1 ? " rank (" : " ranks (",
                                    Replicas(world_size / (size * pipeline)), ")"));
    break;
  }
  faults.Add(tensor > 1 ? "parallel.tensor" : "parallel.pipeline",
             absl::StrCat(product, " must divide the number of ranks, ", world_size, "; use ",
                          absl::StrJoin(remedies, " or ")));
}

}  // namespace

absl::Status Validate(const LoadedConfig& loaded, int world_size) {
  const RunConfig& config = loaded.config;
  KeyFaults faults(loaded.where);
  if (!config.model().has_path()) {
    faults.Add("model", "'model.path' is missing: the folder of a Hugging Face model");
  }
  if (!config.has_output_dir()) {
    faults.Add("output_dir", "'output_dir' is missing: the folder to write results to");
  }
  CheckAdapter(config.adapter(), faults);
  for (const std::string& name : config.train().allow_changed()) {
    const absl::Status known = CheckResultKey(name, "train.allow_changed");
    if (!known.ok()) faults.Add("train.allow_changed", std::string(known.message()));
  }
  CheckMemory(config, faults);
  CheckData(config, faults);
  CheckTrain(config, faults);
  CheckBaseWeights(config, faults);
  CheckEvaluation(config, faults);
  CheckPipeline(config.parallel(), faults);
  CheckLayout(loaded, world_size, faults);
  return faults.AsStatus();
}

}  // namespace fttrain::config
