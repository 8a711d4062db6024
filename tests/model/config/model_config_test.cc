#include "model/config/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// The keys every family needs.
Json Common(const std::string& model_type) {
  return {
      {"model_type", model_type},     {"hidden_size", 64},        {"intermediate_size", 176},
      {"num_hidden_layers", 4},       {"num_attention_heads", 4}, {"num_key_value_heads", 2},
      {"vocab_size", 1003},           {"hidden_act", "silu"},     {"max_position_embeddings", 512},
      {"tie_word_embeddings", false}, {"eos_token_id", 2},        {"rms_norm_eps", 1e-5}};
}

Json With(Json config, const std::string& key, Json value) {
  config[key] = std::move(value);
  return config;
}

Json Without(Json config, const std::string& key) {
  config.erase(key);
  return config;
}

ModelSpec Parsed(const Json& json) {
  const auto config = ParseModelConfig(json.dump(), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.value_or(ModelSpec());
}

const AttentionSpec& AttentionOf(const ModelSpec& model, size_t layer = 0) {
  return std::get<AttentionSpec>(model.layers.at(layer).at(0).body);
}
const MlpSpec& MlpOf(const ModelSpec& model) {
  return std::get<MlpSpec>(model.layers.at(0).at(1).body);
}
std::vector<int64_t> Windows(const Json& json) {
  const ModelSpec model = Parsed(json);
  std::vector<int64_t> windows;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    windows.push_back(AttentionOf(model, i).window);
  }
  return windows;
}
// Which linears have a bias.
std::string Biases(const ModelSpec& model) {
  std::string biases;
  for (const LinearSpec& linear : LinearsOf(model.layers.at(0))) {
    if (linear.bias) biases += LeafName(linear.name) + " ";
  }
  return biases;
}

std::string Complaint(const Json& json) {
  const auto config = ParseModelConfig(json.dump(), "m/config.json");
  EXPECT_FALSE(config.ok());
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  return ErrorText(config);
}

const Json kLlama3 = {{"rope_type", "llama3"},
                      {"factor", 8.0},
                      {"low_freq_factor", 1.0},
                      {"high_freq_factor", 4.0},
                      {"original_max_position_embeddings", 256}};

const Json kNf4 = {{"quant_method", "bitsandbytes"},
                   {"load_in_4bit", true},
                   {"load_in_8bit", false},
                   {"bnb_4bit_quant_type", "nf4"},
                   {"bnb_4bit_use_double_quant", true},
                   {"llm_int8_skip_modules", nullptr}};

TEST(ModelConfig, KnowsAnNf4Folder) {
  EXPECT_FALSE(Parsed(Common("llama")).quantized);
  EXPECT_FALSE(Parsed(With(Common("llama"), "quantization_config", nullptr)).quantized);
  EXPECT_TRUE(Parsed(With(Common("llama"), "quantization_config", kNf4)).quantized);
}

TEST(ModelConfig, ReadsLlama) {
  const ModelSpec model = Parsed(Common("llama"));
  EXPECT_EQ(ToString(model), "llama, 4 layers, hidden 64, heads 4/2, vocabulary 1003");
  EXPECT_EQ(MlpOf(model).gate.out, 176);
  EXPECT_EQ(AttentionOf(model).head_dim, 16) << "hidden_size / num_attention_heads";
  EXPECT_EQ(AttentionOf(model).scale, 0.25);
  EXPECT_EQ(model.ropes.at(0).dim, 16);
  EXPECT_EQ(model.max_position_embeddings, 512);
  EXPECT_EQ(model.head.norm.form.eps, 1e-5);
  EXPECT_EQ(model.layers[3][1].before->form.eps, 1e-5);
  EXPECT_FALSE(model.head.tied || AttentionOf(model).q_norm);
  EXPECT_EQ(Biases(model), "");
  EXPECT_THAT(Windows(Common("llama")), ElementsAre(0, 0, 0, 0));
}

TEST(ModelConfig, BiasFlagsFollowTheFamily) {
  const Json biased = With(With(Common("llama"), "attention_bias", true), "mlp_bias", true);
  EXPECT_EQ(Biases(Parsed(biased)), "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj ");
  EXPECT_EQ(Biases(Parsed(Common("qwen2"))), "q_proj k_proj v_proj ");
  EXPECT_FALSE(AttentionOf(Parsed(Common("qwen2"))).q_norm);
  const ModelSpec qwen3 = Parsed(With(Common("qwen3"), "attention_bias", true));
  EXPECT_EQ(Biases(qwen3), "q_proj k_proj v_proj o_proj ");
  EXPECT_TRUE(AttentionOf(qwen3).q_norm && AttentionOf(qwen3).k_norm);
}

TEST(ModelConfig, MissingKeysHaveTransformersDefaults) {
  const auto kv_heads = [](const Json& json) { return AttentionOf(Parsed(json)).kv_heads; };
  EXPECT_EQ(kv_heads(Without(Common("llama"), "num_key_value_heads")), 4);
  EXPECT_EQ(kv_heads(With(Common("mistral"), "num_key_value_heads", nullptr)), 4);
  EXPECT_EQ(
      kv_heads(With(Without(Common("mistral"), "num_key_value_heads"), "num_attention_heads", 16)),
      8);
  EXPECT_EQ(AttentionOf(Parsed(Common("qwen3"))).head_dim, 128);
  EXPECT_EQ(Parsed(Without(Common("llama"), "rms_norm_eps")).head.norm.form.eps, 1e-6);
  const ModelSpec llama = Parsed(Without(Common("llama"), "eos_token_id"));
  EXPECT_THAT(llama.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(llama.ropes.at(0).theta, 10000.0);
  EXPECT_TRUE(Parsed(Without(Common("qwen2"), "eos_token_id")).eos_token_ids.empty());
}

TEST(ModelConfig, EosTokenIdsMayBeAList) {
  EXPECT_THAT(Parsed(With(Common("llama"), "eos_token_id", {5, 7})).eos_token_ids,
              ElementsAre(5, 7));
}

TEST(ModelConfig, BothRopeSpellingsMeanTheSame) {
  Json v4 = With(With(Common("llama"), "rope_theta", 500000.0), "rope_scaling", kLlama3);
  Json v5 = With(Common("llama"), "rope_parameters", With(kLlama3, "rope_theta", 500000.0));
  Json old = v4;  // "type" was the key before "rope_type"
  old["rope_scaling"].erase("rope_type");
  old["rope_scaling"]["type"] = "llama3";
  for (const Json& json : {v4, v5, old}) {
    const RopeSpec rope = Parsed(json).ropes.at(0);
    EXPECT_EQ(rope.type, RopeType::kLlama3);
    EXPECT_EQ(rope.theta, 500000.0);
    EXPECT_EQ(rope.factor, 8.0);
    EXPECT_EQ(rope.low_freq_factor, 1.0);
    EXPECT_EQ(rope.high_freq_factor, 4.0);
    EXPECT_EQ(rope.original_max_position_embeddings, 256);
  }
}

TEST(ModelConfig, MistralWindowsEveryLayerUnlessNull) {
  EXPECT_THAT(Windows(With(Common("mistral"), "sliding_window", 12)), Each(12));
  EXPECT_THAT(Windows(Common("mistral")), Each(4096));
  EXPECT_THAT(Windows(With(Common("mistral"), "sliding_window", nullptr)), Each(0));
}

TEST(ModelConfig, QwenWindowsUpperLayersOnlyIfAsked) {
  for (const char* family : {"qwen2", "qwen3"}) {
    Json json = With(With(Common(family), "sliding_window", 8), "max_window_layers", 3);
    EXPECT_THAT(Windows(json), Each(0));
    json["use_sliding_window"] = true;
    EXPECT_THAT(Windows(json), ElementsAre(0, 0, 0, 8));
    json["layer_types"] = {"sliding_attention", "full_attention", "full_attention",
                           "sliding_attention"};
    EXPECT_THAT(Windows(json), ElementsAre(8, 0, 0, 8));
  }
}

TEST(ModelConfig, RefusesWhatItCannotComputeByFileAndKey) {
  const Json llama = Common("llama"), qwen2 = Common("qwen2");
  const Json longrope = With(kLlama3, "rope_type", "longrope");
  const Json sliding =
      Json::array({"sliding_attention", "full_attention", "full_attention", "full_attention"});
  const std::pair<Json, const char*> cases[] = {
      {With(llama, "model_type", "gpt_neox"), "'model_type' 'gpt_neox' is not supported"},
      {Without(llama, "model_type"), "'model_type'"},
      {With(With(llama, "model_type", "gemma3"), "text_config", Json::object()),
       "'gemma3' has other parts beside the text model"},
      {With(llama, "architectures", {"LlamaForSequenceClassification"}), "'architectures'"},
      {With(llama, "architectures", {"MistralForCausalLM"}), "only LlamaForCausalLM"},
      {With(llama, "quantization_config", "nf4"), "'quantization_config' must be an object"},
      {With(llama, "quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}),
       "m/config.json: quantization_config: 'quant_method' 'gptq' is not supported"},
      {With(llama, "quantization_config", With(kNf4, "load_in_8bit", true)),
       "'load_in_8bit' is true"},
      {With(llama, "quantization_config", With(kNf4, "load_in_4bit", false)),
       "'load_in_4bit' is not true"},
      {With(llama, "quantization_config", With(kNf4, "bnb_4bit_quant_type", "fp4")),
       "'bnb_4bit_quant_type' 'fp4' is not supported"},
      {With(llama, "quantization_config", Without(kNf4, "bnb_4bit_quant_type")),
       "'bnb_4bit_quant_type' 'fp4' is not supported"},
      {With(llama, "quantization_config", With(kNf4, "bnb_4bit_hadamard", true)),
       "'bnb_4bit_hadamard' is true: it is not a key that is known here"},
      {With(llama, "compression_config", {{"format", "pack-quantized"}}), "'compression_config'"},
      {With(llama, "is_causal", false), "'is_causal' is false"},
      {With(llama, "per_layer_config", {{"2", {{"intermediate_size", 32}}}}), "'per_layer_config'"},
      {With(llama, "hidden_act", "gelu"), "'hidden_act' 'gelu'"},
      {With(llama, "attention_dropout", 0.1), "'attention_dropout' is 0.1"},
      {With(llama, "partial_rotary_factor", 0.5), "'partial_rotary_factor'"},
      {With(qwen2, "attention_bias", true), "'attention_bias' is not a key of qwen2"},
      {With(qwen2, "mlp_bias", true), "'mlp_bias'"},
      {With(llama, "rope_scaling", longrope),
       "rope_scaling: 'rope_type' 'longrope' is not supported"},
      {With(llama, "rope_parameters", longrope), "rope_parameters: 'rope_type' 'longrope'"},
      {With(llama, "rope_scaling", {{"rope_type", "linear"}}), "'factor' is missing"},
      {With(llama, "rope_scaling", With(kLlama3, "factor", 0)), "'factor' is 0"},
      {With(llama, "rope_scaling", With(kLlama3, "high_freq_factor", 1.0)),
       "'high_freq_factor' must exceed"},
      {With(llama, "rope_scaling", 3), "'rope_scaling' must be an object"},
      {With(With(llama, "rope_scaling", kLlama3), "rope_parameters", {{"rope_type", "default"}}),
       "contradicts 'rope_scaling'"},
      {With(llama, "rope_theta", -1), "'rope_theta' is -1"},
      {With(llama, "layer_types", sliding), "'layer_types' contradicts"},
      {With(qwen2, "layer_types", sliding), "'layer_types' contradicts"},
      {With(Common("mistral"), "layer_types", sliding), "'layer_types' contradicts"},
      {With(qwen2, "layer_types", {"full_attention"}), "must list num_hidden_layers = 4"},
      {With(qwen2, "layer_types", {"chunked_attention"}), "chunked_attention"},
  };
  for (const auto& [json, complaint] : cases) {
    const std::string message = Complaint(json);
    EXPECT_THAT(message, HasSubstr("m/config.json")) << json;
    EXPECT_THAT(message, HasSubstr(complaint)) << json;
  }
}

TEST(ModelConfig, NotesWhatOtherFamiliesWouldRead) {
  const Json llama = Common("llama");
  EXPECT_TRUE(Parsed(With(With(llama, "is_causal", true), "use_qk_norm", false)).notes.empty());
  EXPECT_THAT(Parsed(With(llama, "logits_scaling", 8.0)).notes,
              ElementsAre("config.json: 'logits_scaling' is not read for llama, nor by "
                          "transformers' own code"));
  EXPECT_THAT(Parsed(With(llama, "auto_map", {{"AutoModelForCausalLM", "a.B"}})).notes,
              ElementsAre(HasSubstr("'auto_map' is not read")));
}

TEST(ModelConfig, ChecksRanges) {
  const Json llama = Common("llama");
  const std::pair<Json, const char*> cases[] = {
      {With(llama, "hidden_size", 0), "'hidden_size' is 0, must be in [1, 2^31)"},
      {With(llama, "hidden_size", -64), "'hidden_size' is -64"},
      {With(llama, "hidden_size", 64.5), "'hidden_size' must be an integer"},
      {With(llama, "hidden_size", "64"), "'hidden_size' must be an integer"},
      {With(llama, "vocab_size", uint64_t{1} << 63), "'vocab_size'"},
      {With(llama, "vocab_size", int64_t{1} << 31), "'vocab_size' is 2147483648"},
      {Without(llama, "num_hidden_layers"), "'num_hidden_layers' is missing"},
      {With(llama, "num_hidden_layers", 10001), "'num_hidden_layers' exceeds"},
      {With(llama, "num_key_value_heads", 3), "is 3, must divide num_attention_heads 4"},
      {With(llama, "num_key_value_heads", 8), "is 8, must divide num_attention_heads 4"},
      {With(llama, "hidden_size", 66), "must be a multiple of num_attention_heads 4"},
      {With(llama, "hidden_size", 68), "'head_dim' is 17, must be even"},
      {With(llama, "head_dim", 15), "'head_dim' is 15, must be even"},
      {With(llama, "rms_norm_eps", 0), "'rms_norm_eps' is 0"},
      {With(llama, "tie_word_embeddings", 1), "'tie_word_embeddings' must be true or false"},
      {With(llama, "eos_token_id", 1003), "'eos_token_id' is 1003, vocab_size is 1003"},
      {With(llama, "eos_token_id", "</s>"), "'eos_token_id' must be a token id"},
      {With(Common("mistral"), "sliding_window", 0), "'sliding_window' is 0"},
  };
  for (const auto& [json, complaint] : cases) {
    EXPECT_THAT(Complaint(json), HasSubstr(complaint)) << json;
  }
}

TEST(ModelConfig, RefusesTextThatIsNoObject) {
  std::string deep(100000, '[');
  const std::pair<std::string, const char*> cases[] = {
      {"", "config.json"},
      {"[]", "not a JSON object"},
      {"{", "parse error"},
      {R"({"a":1,"a":2})", "key 'a' appears twice"},
      {"{\"a\":\"\xff\"}", "UTF-8"},
      {std::string("{}\0", 3), "NUL"},
      {"{\"a\":" + deep + std::string(100000, ']') + "}", "nested deeper than 32"},
  };
  for (const auto& [text, complaint] : cases) {
    const auto config = ParseModelConfig(text, "m/config.json");
    EXPECT_THAT(ErrorText(config), HasSubstr(complaint));
  }
}

TEST(ModelConfig, LoadsFromAFolderAndStopsAtGenerationIds) {
  const TempFolder folder;
  EXPECT_EQ(LoadModelConfig(folder.path()).status().code(), absl::StatusCode::kNotFound);
  folder.Write("config.json", Common("llama").dump());
  const auto config = LoadModelConfig(folder.path()).value();
  EXPECT_THAT(*LoadStopTokenIds(folder.path(), config), ElementsAre(2));
  folder.Write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_THAT(*LoadStopTokenIds(folder.path(), config), ElementsAre(7, 9));
  folder.Write("generation_config.json", R"({"eos_token_id": "x"})");
  EXPECT_THAT(ErrorText(LoadStopTokenIds(folder.path(), config)),
              HasSubstr("generation_config.json: 'eos_token_id'"));
}

TEST(RopeInverseFrequencies, AreThetaToTheMinusTwoIOverD) {
  RopeSpec rope = {.dim = 4};
  EXPECT_THAT(RopeInverseFrequencies(rope), ElementsAre(1.0, testing::DoubleEq(0.01)));
  rope.type = RopeType::kLinear;
  rope.factor = 4.0;
  EXPECT_THAT(RopeInverseFrequencies(rope), ElementsAre(0.25, testing::DoubleEq(0.0025)));
}

TEST(RopeInverseFrequencies, Llama3SlowsLongWavesAndKeepsShortOnes) {
  Json json = With(With(Common("llama"), "head_dim", 16), "rope_theta", 500000.0);
  const std::vector<double> plain = RopeInverseFrequencies(Parsed(json).ropes.at(0));
  const std::vector<double> scaled =
      RopeInverseFrequencies(Parsed(With(json, "rope_scaling", kLlama3)).ropes.at(0));
  ASSERT_EQ(scaled.size(), 8);
  EXPECT_DOUBLE_EQ(scaled[0], 1.0);  // 40.7 turns within 256 positions: kept
  // 256 / (2 pi) * 500000^(-1/4) = 1.532 turns lie between 1 and 4.
  const double turns = 256 * plain[2] / (2 * M_PI), keep = (turns - 1) / 3;
  EXPECT_NEAR(turns, 1.532, 1e-3);
  EXPECT_NEAR(scaled[2], plain[2] * ((1 - keep) / 8 + keep), 1e-15);
  for (int i = 3; i < 8; ++i) EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 8);  // under one turn
}

TEST(ModelTensors, NamesEveryWeightOfEachFamily) {
  const auto names = [](const Json& json) {
    std::vector<std::string> out;
    for (const TensorSpec& tensor : ModelTensors(Parsed(With(json, "num_hidden_layers", 1)))) {
      out.push_back(tensor.name);
    }
    return out;
  };
  const std::vector<std::string> llama = names(Common("llama"));
  EXPECT_EQ(llama.size(), 12);
  EXPECT_EQ(llama.front(), "model.embed_tokens.weight");
  EXPECT_EQ(llama.back(), "lm_head.weight");
  EXPECT_EQ(names(With(Common("llama"), "tie_word_embeddings", true)).back(), "model.norm.weight");
  EXPECT_EQ(names(With(With(Common("llama"), "attention_bias", true), "mlp_bias", true)).size(),
            12 + 7);
  EXPECT_THAT(names(Common("qwen2")), testing::Contains("model.layers.0.self_attn.q_proj.bias"));
  EXPECT_EQ(names(Common("qwen2")).size(), 12 + 3);
  EXPECT_THAT(names(Common("qwen3")), testing::Contains("model.layers.0.self_attn.k_norm.weight"));
}

TEST(ModelTensors, ShapesFollowHeadsNotHiddenSize) {
  Json json = With(Common("qwen3"), "head_dim", 32);
  const std::pair<const char*, std::vector<int64_t>> expected[] = {
      {"self_attn.q_proj.weight", {128, 64}}, {"self_attn.k_proj.weight", {64, 64}},
      {"self_attn.o_proj.weight", {64, 128}}, {"self_attn.q_norm.weight", {32}},
      {"mlp.gate_proj.weight", {176, 64}},    {"mlp.down_proj.weight", {64, 176}},
  };
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorSpec& tensor : ModelTensors(Parsed(json))) shapes[tensor.name] = tensor.shape;
  for (const auto& [name, shape] : expected) {
    EXPECT_EQ(shapes[std::string("model.layers.3.") + name], shape) << name;
  }
}

}  // namespace
}  // namespace fttrain
