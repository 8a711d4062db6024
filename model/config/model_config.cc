#include "model/config/model_config.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config/families/families.h"
#include "model/config/generation_config.h"
#include "model/config/quantization_config.h"
#include "runtime/files/json.h"
#include "runtime/files/safetensors.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxConfigBytes = 16 << 20;

const Family* FindFamily(JsonKeys& keys) {
  const std::string type = keys.Text("model_type", "");
  for (const Family& family : Families()) {
    if (type != family.model_type) continue;
    const Json* architectures = keys.Find("architectures");
    if (architectures != nullptr && *architectures != Json::array({family.architecture})) {
      keys.Fail("architectures",
                absl::StrCat("is ", Printable(architectures->dump()), "; of ", type, " only ",
                             family.architecture, " is supported"));
    }
    return &family;
  }
  if (const Json* text = keys.Find("text_config"); text != nullptr && text->is_object()) {
    keys.Fail("model_type",
              absl::StrCat("'", Printable(type),
                           "' has other parts beside the text model, which "
                           "'text_config' is of, and is not supported: write the text model into a "
                           "folder of its own (configs/gemma3-27b-qlora.yaml shows how)"));
    return nullptr;
  }
  const auto name = [](std::string* out, const Family& family) { *out += family.model_type; };
  keys.Fail("model_type", absl::StrCat("'", Printable(type), "' is not supported (",
                                       absl::StrJoin(Families(), ", ", name), " are)"));
  return nullptr;
}

// Keys of config.json that transformers reads for every family and that make of it another model.
void RefuseOtherModels(JsonKeys& keys) {
  if (!keys.Bool("is_causal", true)) {
    keys.Fail("is_causal", "is false: only causal attention is supported");
  }
  if (const Json* layers = keys.Find("per_layer_config"); layers != nullptr && !layers->empty()) {
    keys.Fail("per_layer_config", "is not supported: layers that differ in their settings");
  }
  if (keys.Find("compression_config")) {
    keys.Fail("compression_config", "is not supported, use the unquantized model");
  }
}

// Keys that change other families' computation and, here as in transformers, not this one's: who
// set them may have expected otherwise.
constexpr const char* kOfOtherFamilies[] = {"attention_multiplier",
                                            "embedding_multiplier",
                                            "residual_multiplier",
                                            "logits_scaling",
                                            "logit_scale",
                                            "final_logit_softcapping",
                                            "attn_logit_softcapping",
                                            "query_pre_attn_scalar",
                                            "attention_chunk_size",
                                            "no_rope_layers",
                                            "use_qk_norm",
                                            "num_local_experts",
                                            "num_experts",
                                            "auto_map"};

void NoteOtherFamilies(JsonKeys& keys, const Family& family, ModelSpec& model) {
  for (const char* key : kOfOtherFamilies) {
    if (absl::c_linear_search(family.own_keys, key)) continue;
    const Json* value = keys.Find(key);
    if (value == nullptr || *value == false) continue;
    model.notes.push_back(absl::StrCat(keys.where(), ": '", key, "' is not read for ", model.family,
                                       ", nor by transformers' own code"));
  }
}

absl::Status ReadQuantization(JsonKeys& keys, ModelSpec& model) {
  const Json* quantization = keys.Find("quantization_config");
  if (quantization == nullptr) return keys.status();
  if (!quantization->is_object()) {
    return keys.Fail("quantization_config", "must be an object"), keys.status();
  }
  if (HasStackedExperts(model) && IsMxfp4Config(*quantization)) {
    model.mxfp4 = true;
    return CheckMxfp4Config(*quantization, keys.where() + ": quantization_config");
  }
  model.quantized = true;
  return CheckQuantizationConfig(*quantization, keys.where() + ": quantization_config");
}

}  // namespace

absl::StatusOr<ModelSpec> ParseModelConfig(std::string_view config_json, const std::string& file) {
  FT_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(config_json, file));
  JsonKeys keys(json, file);
  const Family* family = FindFamily(keys);
  FT_RETURN_IF_ERROR(keys.status());
  ModelSpec model = family->read(keys);
  model.family = family->model_type;
  RefuseOtherModels(keys);
  NoteOtherFamilies(keys, *family, model);
  FT_RETURN_IF_ERROR(keys.status());
  FT_RETURN_IF_ERROR(ReadQuantization(keys, model));
  for (const int64_t id : model.eos_token_ids) {
    if (id >= model.vocab_size) {
      keys.Fail("eos_token_id", absl::StrCat("is ", id, ", vocab_size is ", model.vocab_size));
    }
  }
  FT_RETURN_IF_ERROR(keys.status());
  return model;
}

absl::StatusOr<ModelSpec> LoadModelConfig(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/config.json");
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  return ParseModelConfig(text, path);
}

absl::StatusOr<std::vector<int64_t>> LoadStopTokenIds(const std::string& folder,
                                                      const ModelSpec& model) {
  FT_ASSIGN_OR_RETURN(std::vector<int64_t> ids, GenerationEndIds(folder));
  return ids.empty() ? model.eos_token_ids : std::move(ids);
}

}  // namespace fttrain
