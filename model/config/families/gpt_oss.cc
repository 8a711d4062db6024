// gpt-oss: attention with sinks and biases, over windows in every other layer; experts with biases,
// in one tensor a matrix, and a clamped gate (Agarwal et al., arXiv:2508.10925). As transformers'
// GptOssForCausalLM: its softmax over the chosen experts' scores is MoeSpec::renormalize.
#include <cmath>

#include "model/config/families/expert_keys.h"
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {
namespace {

// What a config without rotary settings has.
RopeSpec YarnOfGptOss() {
  return {.type = RopeType::kYarn,
          .factor = 32.0,
          .original_max_position_embeddings = 4096,
          .truncate = false,
          .attention_factor = 0.1 * std::log(32.0) + 1};
}

GluForm ReadGate(JsonKeys& keys) {
  GluForm form = Activation::kClampedSwish;
  form.limit = keys.Positive("swiglu_limit", form.limit);
  form.alpha = keys.Positive("swiglu_alpha", form.alpha);
  return form;
}

}  // namespace

ModelSpec ReadGptOss(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 8, .head_dim = 64, .eps = 1e-5});
  shape.norm.rounds_once = true;
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", true);
  shape.attention_sinks = true;
  shape.activation = ReadGate(keys);
  const bool no_window = keys.Contains("sliding_window") && !keys.Find("sliding_window");
  ReadWindowPattern(keys, no_window ? 0 : keys.Int("sliding_window", 1, 128), /*period=*/2, shape);
  ReadRope(keys, shape, {.theta = 150000.0, .absent = YarnOfGptOss()});
  ReadExperts(keys, /*experts=*/128, /*top_k=*/4, shape);
  shape.moe.intermediate_size = shape.intermediate_size;
  shape.moe.renormalize = shape.moe.stacked = shape.moe.bias = true;
  shape.moe.router = "router";
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {});
  return model;
}

}  // namespace fttrain
