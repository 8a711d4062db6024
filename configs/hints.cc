#include "configs/hints.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "configs/nearest_word.h"
#include "configs/run_config.pb.h"
#include "configs/schema.h"

namespace fttrain::config {
namespace {

// Names, separated by spaces, that mean `key` elsewhere.
struct Names {
  const char* key;
  const char* names;
  const char* note;
};

constexpr Names kNamesElsewhere[] = {
    {"model.path",
     "base_model model_name_or_path model_name model_path model_id "
     "pretrained_model_name_or_path base_model_name_or_path",
     ""},
    {"adapter.method", "finetuning_type peft_type adapter_type use_peft use_lora train_type", ""},
    {"adapter.method", "load_in_4bit quantization_bit use_qlora", "qlora"},
    {"adapter.r", "lora_r lora_rank rank lora_dim", ""},
    {"adapter.alpha", "lora_alpha", ""},
    {"adapter.dropout", "lora_dropout", ""},
    {"adapter.target_modules", "lora_target_modules lora_target lora_modules", ""},
    {"adapter.target_modules", "lora_target_linear", "all-linear"},
    {"adapter.use_rslora", "peft_use_rslora rslora", ""},
    {"adapter.init_from", "lora_model_dir adapter_name_or_path adapter_path peft_model_path", ""},
    {"adapter.quantization.type", "bnb_4bit_quant_type quant_type quantization_type", ""},
    {"adapter.quantization.double_quant", "bnb_4bit_use_double_quant double_quantization", ""},
    {"data.train",
     "datasets dataset train_file train_files train_data train_dataset data_path "
     "dataset_path dataset_name data_files",
     ""},
    {"data.eval",
     "test_datasets eval_dataset eval_file eval_data validation_file validation_data "
     "val_data val_file",
     ""},
    {"data.eval", "val_set_size val_size", "a file of its own: nothing is split off"},
    {"data.sequence_len",
     "cutoff_len max_seq_length max_seq_len max_length model_max_length seq_length "
     "seq_len sequence_length context_length",
     ""},
    {"data.packing", "sample_packing neat_packing pack_sequences", ""},
    {"data.shuffle", "shuffle_data shuffle_merged_datasets", ""},
    {"data.chat_template", "template chat_format prompt_template", ""},
    {"train.num_epochs", "num_train_epochs epochs n_epochs max_epochs", ""},
    {"train.max_steps", "total_steps num_steps max_train_steps train_steps steps", ""},
    {"train.micro_batch_size",
     "per_device_train_batch_size batch_size train_batch_size micro_batch "
     "device_batch_size per_device_batch_size",
     ""},
    {"train.gradient_accumulation_steps",
     "gradient_accumulation grad_accum grad_accumulation_steps accumulate_grad_batches", ""},
    {"train.seed", "random_seed data_seed", ""},
    {"train.log_steps", "logging_steps log_interval log_every log_every_n_steps", ""},
    {"train.eval_steps", "eval_strategy evaluation_strategy evals_per_epoch eval_interval",
     "a count of steps"},
    {"train.save_steps", "save_strategy saves_per_epoch save_interval", "a count of steps"},
    {"train.deterministic", "full_determinism use_deterministic_algorithms", ""},
    {"optimizer.name", "optim optimizer_type", ""},
    {"optimizer.learning_rate", "lr max_lr peak_lr", ""},
    {"optimizer.beta1", "adam_beta1", ""},
    {"optimizer.beta2", "adam_beta2", ""},
    {"optimizer.eps", "adam_epsilon epsilon adam_eps", ""},
    {"optimizer.weight_decay", "wd", ""},
    {"optimizer.max_grad_norm",
     "grad_clip clip_grad_norm gradient_clipping gradient_clip_val clip_grad", ""},
    {"schedule.name", "lr_scheduler lr_scheduler_type scheduler lr_schedule", ""},
    {"schedule.warmup_steps", "num_warmup_steps lr_warmup_steps warmup", ""},
    {"schedule.warmup_steps", "warmup_ratio", "a count of steps, not a share"},
    {"schedule.min_ratio", "cosine_min_lr_ratio min_lr_ratio min_lr min_lr_rate",
     "a share of the peak"},
    {"parallel.tensor",
     "tensor_parallel_size tensor_parallel_degree tensor_model_parallel_size "
     "tensor_parallel tp_size tp",
     ""},
    {"parallel.pipeline",
     "pipeline_parallel_size pipeline_parallel_degree pipeline_model_parallel_size "
     "pipeline_parallel pp_size pp",
     ""},
    {"parallel.zero_stage", "deepspeed fsdp fsdp_config fsdp_version zero_optimization zero stage",
     ""},
    {"parallel.sequence_parallel", "enable_sequence_parallel", ""},
    {"parallel.pipeline_schedule", "pipeline_parallel_schedule", ""},
    {"parallel.timeout_seconds", "ddp_timeout nccl_timeout dist_timeout", ""},
    {"parallel.chunks_per_stage", "virtual_pipeline_model_parallel_size virtual_stages", ""},
    {"memory.recompute",
     "gradient_checkpointing activation_checkpointing enable_activation_checkpointing "
     "recompute_granularity use_gradient_checkpointing",
     "none, smart or full"},
    {"memory.activations", "activation_offloading enable_activation_offloading", "host"},
    {"memory.scratch_folder", "offload_folder nvme_path", ""},
    {"precision.compute", "torch_dtype dtype mixed_precision bfloat16", ""},
    {"precision.compute", "bf16 fp16", "bf16"},
    {"precision.compute", "fp32", "fp32"},
    {"device", "use_cpu no_cuda", "cpu"},
    {"device", "device_map accelerator", ""},
    {"output_dir", "out_dir output_folder save_dir logging_dir", ""},
};

// Names that correspond to no key, and why.
constexpr Names kNamesWithoutKey[] = {
    {"", "tokenizer tokenizer_name_or_path",
     "has no key: the tokenizer is read from the folder model.path"},
    {"", "trust_remote_code", "has no key: code of a model folder is never run"},
    {"", "load_in_8bit", "has no key: frozen weights are 16-bit (lora) or 4-bit (qlora)"},
    {"", "tf32", "has no key: precision.compute bf16 or fp32 decides"},
    {"", "modules_to_save lora_modules_to_save",
     "has no key: low-rank factors or, with adapter.method none, all weights"},
    {"", "use_dora peft_use_dora", "has no key: DoRA is not implemented"},
    {"", "global_batch_size",
     "has no key: it is train.micro_batch_size x train.gradient_accumulation_steps x data-parallel "
     "ranks"},
    {"", "data_parallel_size dp_shard_size dp",
     "has no key: it is ranks / (parallel.tensor x parallel.pipeline)"},
    {"", "context_parallel_size", "has no key: context parallelism is not implemented"},
    {"", "attn_implementation flash_attention flash_attn",
     "has no key: attention always uses flash kernels"},
    {"", "pad_to_sequence_len group_by_length", "has no key: nothing is padded"},
    {"", "train_on_inputs", "has no key: targets are the answers (format text: everything)"},
    {"", "mask_prompt", "has no key: prompts are never targets"},
    {"", "use_tensorboard report_to wandb_project",
     "has no key: metrics are in metrics.jsonl of output_dir"},
};

// Words that mean `ours` for an enum key, in lower case.
struct KnownWord {
  const char* key;
  const char* word;
  const char* ours;
};

constexpr KnownWord kWords[] = {
    {"adapter.method", "full", "none"},
    {"optimizer.name", "adamw_torch", "adamw"},
    {"optimizer.name", "adamw_torch_fused", "adamw"},
    {"optimizer.name", "adamw_hf", "adamw"},
    {"optimizer.name", "adam", "adamw"},
    {"optimizer.state", "8bit", "int8"},
    {"optimizer.state", "float32", "fp32"},
    {"precision.compute", "bfloat16", "bf16"},
    {"precision.compute", "float32", "fp32"},
    {"precision.compute", "fp16", "bf16"},
    {"precision.compute", "float16", "bf16"},
    {"device", "gpu", "cuda"},
    {"schedule.name", "cosine_with_min_lr", "cosine"},
    {"schedule.name", "constant_with_warmup", "constant"},
    {"data.chat_template", "qwen", "chatml"},
    {"data.chat_template", "llama-3", "llama3"},
    {"memory.base_weights", "cpu", "host"},
    {"optimizer.device", "cpu", "host"},
    {"optimizer.device", "cuda", "device"},
    {"memory.activations", "cpu", "host"},
    {"data.train[].format", "chat_template", "messages"},
    {"data.train[].format", "chat", "messages"},
    {"data.train[].format", "completion", "text"},
    {"data.train[].format", "input_output", "prompt_completion"},
    {"data.train[].format", "instruction", "alpaca"},
};

std::string Lower(const std::string& key) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(key), {{"-", "_"}});
}

// "data.train[3].path" -> "data.train[].path".
std::string WithoutIndex(const std::string& path) {
  const size_t open = path.find('['), close = path.find(']');
  if (open == std::string::npos || close == std::string::npos) return path;
  return absl::StrCat(path.substr(0, open + 1), path.substr(close));
}

std::string HintText(const Hint& hint, const std::string& key) {
  if (hint.key.empty()) return absl::StrCat("'", key, "' ", hint.note);
  return absl::StrCat("'", key, "' is ", hint.key, " here",
                      hint.note.empty() ? "" : absl::StrCat(" (", hint.note, ")"));
}

// Our own keys whose last word is `key`, outside the section they were looked for in.
std::vector<std::string> SameKeyElsewhere(const std::string& key) {
  std::vector<std::string> found;
  for (const std::string& known : AllKeys(*RunConfig::descriptor())) {
    const size_t dot = known.rfind('.');
    const std::string last = dot == std::string::npos ? known : known.substr(dot + 1);
    if (last == key) found.push_back(known);
  }
  return found;
}

}  // namespace

const std::vector<Hint>& AllHints() {
  static const auto& hints = *[] {
    auto* all = new std::vector<Hint>{
        {"data.train[]", "type", "data.train[].format", ""},
        {"data.eval[]", "type", "data.eval[].format", ""},
        {"data.train[]", "ds_type", "data.train[].format", ""},
        {"data.train[]", "formatting", "data.train[].format", ""},
        {"data.train[]", "file_name", "data.train[].path", ""},
        {"data.train[]", "data_files", "data.train[].path", ""},
    };
    for (const auto& table : {absl::MakeSpan(kNamesElsewhere), absl::MakeSpan(kNamesWithoutKey)}) {
      for (const Names& row : table) {
        for (const absl::string_view name : absl::StrSplit(row.names, ' ')) {
          all->push_back({"", std::string(name), row.key, row.note});
        }
      }
    }
    return all;
  }();
  return hints;
}

std::string UnknownKeyMessage(const google::protobuf::Descriptor& section, const std::string& path,
                              const std::string& key) {
  for (const Hint& hint : AllHints()) {
    const bool applies = hint.section.empty() || hint.section == WithoutIndex(path);
    if (applies && hint.name == Lower(key)) return HintText(hint, key);
  }
  const std::vector<std::string> elsewhere = SameKeyElsewhere(Lower(key));
  if (!elsewhere.empty()) {
    return absl::StrCat("'", key, "' is ", absl::StrJoin(elsewhere, " or "), " here");
  }
  const std::string in = path.empty() ? "" : absl::StrCat(" in ", path);
  const std::vector<std::string> keys = KeysOf(section);
  if (const std::string near = NearestWord(key, keys); !near.empty()) {
    return absl::StrCat("unknown key '", key, "'", in, "; did you mean '", near, "'?");
  }
  std::vector<std::string> names;
  for (const std::string& known : AllKeys(*RunConfig::descriptor())) {
    names.push_back(known.substr(known.rfind('.') + 1));
  }
  if (const std::string near = NearestWord(key, names); !near.empty()) {
    return absl::StrCat("unknown key '", key, "'", in, "; did you mean '",
                        absl::StrJoin(SameKeyElsewhere(near), "' or '"), "'?");
  }
  return absl::StrCat("unknown key '", key, "'", in, "; keys are ", absl::StrJoin(keys, ", "));
}

std::string WordKnownElsewhere(const std::string& key, const std::string& word) {
  for (const KnownWord& row : kWords) {
    if (WithoutIndex(key) == row.key && absl::AsciiStrToLower(word) == row.word) return row.ours;
  }
  return "";
}

}  // namespace fttrain::config
