#include "model/blocks/decoder_layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/blocks/parameters.h"
#include "runtime/math/philox.h"
#include "tests/local_rows.h"
#include "tests/model/family_shapes.h"
#include "tests/model/rig.h"

namespace fttrain {
namespace {

// Layer 1 of the tiny model on all ranks of the job as one tp group.
struct LayerOnTp : PartOnMesh {
  LayerOnTp(const ModelVariant& variant, bool sequence_parallel,
            Recompute recompute = Recompute::kNone, at::ScalarType compute = at::kDouble)
      : PartOnMesh(TestProcess().world_size()) {
    options.sequence_parallel = sequence_parallel;
    options.recompute = recompute;
    options.compute = compute;
    variant.apply(config, options);
    const ModelSpec model = LlamaLike(config);
    Communicator& tp = mesh->tp();
    DeclareLayer(model.layers[1], options, RankIn(tp), set);
    layer = std::make_unique<DecoderLayer>(model.layers[1], options, tp, set);
    ropes = MakeRopeTables(model.ropes, 16, options.compute, at::kCPU);
    FillDeclared();
  }
  std::unique_ptr<DecoderLayer> layer;
  RopeTables ropes;
};

class DecoderLayerOnTp : public ::testing::TestWithParam<std::tuple<ModelVariant, bool>> {};

TEST_P(DecoderLayerOnTp, ValuesAndGradientsEqualAutogradInFloat64) {
  const auto& [variant, sequence_parallel] = GetParam();
  LayerOnTp rig(variant, sequence_parallel);
  const MicrobatchContext context = PackedContext();
  const at::Tensor x = SeededTensor({12, rig.config.hidden_size}, "x");
  const at::Tensor dy = SeededTensor({12, rig.config.hidden_size}, "dy").detach();
  const at::Tensor want = OracleDecoderLayer(rig.Oracle(), 1, x, context);
  want.backward(dy);

  const c10::NoGradGuard no_grad;
  DecoderLayerSaved saved;
  const at::Tensor x_local = rig.Local(x);
  const at::Tensor y = rig.layer->Forward(x_local, context, rig.ropes, &saved);
  EXPECT_LE(RelativeError(y, rig.Local(want)), 1e-10);
  EXPECT_TRUE(at::equal(x_local, rig.Local(x))) << "the input was overwritten";
  EXPECT_TRUE(at::equal(rig.layer->Forward(x_local, context, rig.ropes, nullptr), y))
      << "what is not saved has the same values";

  rig.optimizer->ZeroGradients();
  const at::Tensor dx =
      rig.layer->Backward(rig.Local(dy), context, rig.ropes, saved, /*need_dx=*/true);
  rig.optimizer->SyncGradients();
  EXPECT_LE(RelativeError(dx, rig.Local(x.grad())), 1e-10);
  EXPECT_TRUE(saved.blocks.empty());
  ExpectGradientsNear(rig.set, rig.params, 1e-10);
  EXPECT_EQ(rig.set.Trainable().empty(), !rig.options.adapter && !rig.options.train_base);
}

// Biases, norms of queries and keys, a window, scaled rotations, rsLoRA and dropout.
constexpr auto kAllOptions = [](LlamaShape& c, ModelOptions& o) {
  c.qkv_bias = c.o_bias = c.mlp_bias = c.qk_norm = true;
  c.layer_windows = {0, 3};
  c.rope.attention_factor = 1.25;
  o.train_base = true;
  UseLora(o, AllLinear());
  o.adapter->dropout = 0.25;
  o.adapter->use_rslora = true;
};

// The wiring of other families, with all of it trained and adapters on all.
const std::vector<std::string> kFusedLinears = {
    "qkv_proj", "q_proj",    "k_proj",   "v_proj",   "gate_up_proj",       "gate_proj", "up_proj",
    "o_proj",   "down_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"};
template <void (*like)(LlamaShape&)>
void TrainAll(LlamaShape& c, ModelOptions& o) {
  like(c);
  o.train_base = true;
  UseLora(o, kFusedLinears);
  o.adapter->dropout = 0.25;
}
template <void (*like)(LlamaShape&)>
void TrainAllOfOneKvHead(LlamaShape& c, ModelOptions& o) {
  c.num_kv_heads = 1;
  TrainAll<like>(c, o);
}
template <void (*like)(LlamaShape&)>
void AdaptNf4(LlamaShape& c, ModelOptions& o) {
  like(c);
  UseNf4(o);
  UseLora(o, kFusedLinears);
}

const ModelVariant kVariants[] = {
    {"Gemma2", TrainAll<LikeGemma2>},
    {"Gemma3OneKvHead", TrainAllOfOneKvHead<LikeGemma3>},
    {"Olmo2", TrainAll<LikeOlmo2>},
    {"Olmo2OneKvHead", TrainAllOfOneKvHead<LikeOlmo2>},
    {"Olmo2Nf4", AdaptNf4<LikeOlmo2>},
    {"Granite", TrainAll<LikeGranite>},
    {"Cohere2", TrainAll<LikeCohere2>},
    {"Glm4", TrainAll<LikeGlm4>},
    {"Phi3", TrainAll<LikePhi3>},
    {"Phi3OneKvHead", TrainAllOfOneKvHead<LikePhi3>},
    {"Phi3Nf4", AdaptNf4<LikePhi3>},
    {"Glm4Nf4", AdaptNf4<LikeGlm4>},
    {"Mixtral", TrainAll<LikeMixtral>},
    {"Qwen3Moe", TrainAll<LikeQwen3Moe>},
    {"DeepseekV2", TrainAll<LikeDeepseekV2>},
    {"DeepseekV3", TrainAll<LikeDeepseekV3>},
    {"DeepseekV3Nf4", AdaptNf4<LikeDeepseekV3>},
    {"DeepseekV2Frozen", [](LlamaShape& c, ModelOptions&) { LikeDeepseekV2(c); }},
    {"DeepseekV3LatentsOnly",
     [](LlamaShape& c, ModelOptions& o) {
       LikeDeepseekV3(c);
       UseLora(o, {"kv_a_proj_with_mqa", "q_b_proj"});
     }},
    {"MixtralFrozen", [](LlamaShape& c, ModelOptions&) { LikeMixtral(c); }},
    {"Qwen3MoeNf4", AdaptNf4<LikeQwen3Moe>},
    {"MixtralNf4DenseExperts",
     [](LlamaShape& c, ModelOptions& o) {
       AdaptNf4<LikeMixtral>(c, o);
       o.nf4_experts = false;
     }},
    {"Qwen3MoeExpertsAdapted",
     [](LlamaShape& c, ModelOptions& o) {
       AdaptNf4<LikeQwen3Moe>(c, o);
       o.adapter->target_parameters = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"};
       o.adapter->rank_pattern = {{"experts.down_proj", 5}};
     }},
    {"MixtralOneParameterAdapted",
     [](LlamaShape& c, ModelOptions& o) {
       TrainAll<LikeMixtral>(c, o);
       o.adapter->dropout = 0;
       o.adapter->target_parameters = {"down_proj"};
     }},
    {"GptOssExpertsAdapted",
     [](LlamaShape& c, ModelOptions& o) {
       AdaptNf4<LikeGptOss>(c, o);
       o.adapter->target_parameters = {"gate_up_proj", "experts.down_proj"};
       o.adapter->use_rslora = true;
     }},
    {"MixtralSixExperts",
     [](LlamaShape& c, ModelOptions& o) {
       TrainAll<LikeMixtral>(c, o);
       c.moe.experts = 6;
     }},
    {"GptOssSixExpertsAdapted",
     [](LlamaShape& c, ModelOptions& o) {
       AdaptNf4<LikeGptOss>(c, o);
       c.moe.experts = 6;
       o.adapter->target_parameters = {"gate_up_proj", "experts.down_proj"};
     }},
    {"Qwen3MoeSixExpertsFrozen",
     [](LlamaShape& c, ModelOptions&) {
       LikeQwen3Moe(c);
       c.moe.experts = 6;
     }},
    {"GptOss", TrainAll<LikeGptOss>},
    {"GptOssOneKvHead", TrainAllOfOneKvHead<LikeGptOss>},
    {"GptOssFrozen", [](LlamaShape& c, ModelOptions&) { LikeGptOss(c); }},
    {"GptOssNf4", AdaptNf4<LikeGptOss>},
    {"FrozenBase", [](LlamaShape&, ModelOptions&) {}},
    {"TrainBase", [](LlamaShape&, ModelOptions& o) { o.train_base = true; }},
    {"TrainBaseManyKvHeadsQkvBias",
     [](LlamaShape& c, ModelOptions& o) { c.num_kv_heads = 4, c.qkv_bias = o.train_base = true; }},
    {"TrainBaseOneKvHeadEveryBias",
     [](LlamaShape& c, ModelOptions& o) {
       c.num_kv_heads = 1, c.qkv_bias = c.o_bias = c.mlp_bias = o.train_base = true;
       c.rope.attention_factor = 0.8;
     }},
    {"LoraAllLinear", [](LlamaShape&, ModelOptions& o) { UseLora(o, AllLinear()); }},
    {"LoraQueryValueOnly",
     [](LlamaShape&, ModelOptions& o) {
       UseLora(o, {"q_proj", "v_proj"});
     }},
    {"LoraRowSplitOnly",
     [](LlamaShape&, ModelOptions& o) {
       UseLora(o, {"o_proj", "down_proj"});
     }},
    {"LoraGateOnlyWithBiasAndNorm",
     [](LlamaShape& c, ModelOptions& o) {
       c.qkv_bias = c.o_bias = c.mlp_bias = c.qk_norm = true;
       UseLora(o, {"gate_proj"});
     }},
    {"EverythingAtOnce", kAllOptions},
    {"Nf4Frozen", [](LlamaShape&, ModelOptions& o) { UseNf4(o); }},
    {"Nf4LoraAllLinear", [](LlamaShape&, ModelOptions& o) { UseNf4(o), UseLora(o, AllLinear()); }},
    {"Nf4RowsOf96OneKvHead",
     [](LlamaShape& c, ModelOptions& o) {
       c.hidden_size = 96, c.num_kv_heads = 1;
       UseNf4(o);
       UseLora(o, AllLinear());
     }},
    {"Nf4SomeModulesDense",
     [](LlamaShape&, ModelOptions& o) {
       UseNf4(o, {.block_size = 32, .double_quant = false},
              {"model.layers.1.mlp.gate_proj", "model.layers.1.self_attn.o_proj"});
       UseLora(o, {"q_proj", "gate_proj", "down_proj"});
     }},
    {"Nf4DropoutBiasesAndNorms",
     [](LlamaShape& c, ModelOptions& o) {
       kAllOptions(c, o);
       o.train_base = false;
       UseNf4(o, {.block_size = 128});
     }},
};

std::string LayerName(const ::testing::TestParamInfo<std::tuple<ModelVariant, bool>>& test) {
  const auto& [variant, sequence_parallel] = test.param;
  return variant.name + (sequence_parallel ? "SequenceParallel" : "");
}
INSTANTIATE_TEST_SUITE_P(Options, DecoderLayerOnTp,
                         ::testing::Combine(::testing::ValuesIn(kVariants), ::testing::Bool()),
                         LayerName);

constexpr Recompute kLevels[] = {Recompute::kNone, Recompute::kSmart, Recompute::kFull};

// y, dx and the gradients of `layers`, one after another.
std::vector<at::Tensor> RunLayers(const std::vector<LayerSpec>& layers, const ModelOptions& options,
                                  const std::vector<RopeSpec>& ropes) {
  const auto mesh = TestMesh(TestProcess().world_size());
  Communicator& tp = mesh->tp();
  ParameterSet set;
  std::vector<std::unique_ptr<DecoderLayer>> made;
  for (const LayerSpec& layer : layers) {
    DeclareLayer(layer, options, RankIn(tp), set);
    made.push_back(std::make_unique<DecoderLayer>(layer, options, tp, set));
  }
  AllocateForTest(set);
  CopyValues(set, SeededTensors(set));
  const RopeTables tables = MakeRopeTables(ropes, 16, options.compute, at::kCPU);
  const SequenceRegion region(tp, options.sequence_parallel);
  const int64_t hidden = TinyLlama().hidden_size;
  at::Tensor x = LocalRows(region, SeededTensor({12, hidden}, "x").detach());
  at::Tensor dx = LocalRows(region, SeededTensor({12, hidden}, "dy").detach());
  std::vector<DecoderLayerSaved> saved(made.size());
  for (size_t i = 0; i < made.size(); ++i) {
    x = made[i]->Forward(x, PackedContext(), tables, &saved[i]);
  }
  std::vector<at::Tensor> results = {x.clone()};
  for (size_t i = made.size(); i-- > 0;) {
    dx = made[i]->Backward(std::move(dx), PackedContext(), tables, saved[i], /*need_dx=*/true);
  }
  results.push_back(dx);
  for (const Parameter* parameter : set.Trainable()) results.push_back(parameter->grad);
  return results;
}

// The tiny model's shapes of every family, Llama's first.
std::vector<LlamaShape> AllShapes() {
  std::vector<LlamaShape> shapes = {TinyLlama()};
  for (const FamilyShape& family : kFamilyShapes) family.apply(shapes.emplace_back(TinyLlama()));
  return shapes;
}

TEST(DecoderLayer, OneOfFourBlocksIsTwoLayersOneAfterAnother) {
  const c10::NoGradGuard no_grad;
  for (const LlamaShape& shape : AllShapes()) {
    const ModelSpec model = LlamaLike(shape);
    LayerSpec both = model.layers[0];
    both.insert(both.end(), model.layers[1].begin(), model.layers[1].end());
    std::vector<at::Tensor> kept;
    for (const Recompute level : kLevels) {
      ModelOptions options = Float64Options();
      options.recompute = level;
      options.train_base = true;
      const std::vector<at::Tensor> want = RunLayers(model.layers, options, model.ropes);
      const std::vector<at::Tensor> got = RunLayers({both}, options, model.ropes);
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i) EXPECT_LE(RelativeError(got[i], want[i]), 1e-12) << i;
      if (level == Recompute::kNone) kept = got;
      for (size_t i = 0; i < got.size(); ++i) {
        EXPECT_TRUE(at::equal(got[i], kept[i])) << "recomputed differently: " << i;
      }
    }
  }
}

// A layer's log-sum-exp is float32 where it computes in bfloat16.
TEST(DecoderLayer, KeepsExactlyTheTensorsOfItsContract) {
  const ModelVariant lora{"", [](LlamaShape&, ModelOptions& o) { UseLora(o, AllLinear()); }};
  for (const auto& [compute, bytes, lse_bytes] :
       {std::tuple(at::kDouble, 8, 8), {at::kBFloat16, 2, 4}}) {
    for (const Recompute level : kLevels) {
      LayerOnTp rig(lora, /*sequence_parallel=*/true, level, compute);
      const c10::NoGradGuard no_grad;
      const int64_t tp = rig.mesh->tp().size(), tokens = 12, heads = rig.config.num_heads / tp;
      const int64_t h = rig.config.hidden_size, d = rig.config.head_dim;
      const int64_t kv = std::max<int64_t>(1, rig.config.num_kv_heads / tp);
      const at::Tensor x = SeededTensor({tokens / tp, h}, "x").detach().to(compute);
      const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
      DecoderLayerSaved saved;
      const at::Tensor y = rig.layer->Forward(x, PackedContext(), rig.ropes, &saved);
      // The next layer's input, after attention, and the rest.
      int64_t want = bytes * tokens / tp * h;
      if (level != Recompute::kFull) want *= 2;
      if (level == Recompute::kNone) {
        const int64_t f = rig.config.intermediate_size / tp;
        want += tokens * (bytes * (2 * heads * d + 2 * kv * d + 2 * f) + lse_bytes * heads);
      }
      EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes - before, want);
      // Its own input in place of the next one's: the form that the start of a run shows.
      const LayerSpec layer = LlamaLike(rig.config).layers[1];
      EXPECT_EQ(KeptBytes(layer, rig.options, static_cast<int>(tp), tokens), want);
    }
  }
}

TEST(DecoderLayer, KeepsWhatIsCountedInEveryFamily) {
  const c10::NoGradGuard no_grad;
  for (const FamilyShape& family : kFamilyShapes) {
    for (const Recompute level : kLevels) {
      SCOPED_TRACE(std::string(family.name) + " " + std::to_string(static_cast<int>(level)));
      const auto mesh = TestMesh(TestProcess().world_size());
      LlamaShape shape = TinyLlama();
      family.apply(shape);
      const ModelSpec model = LlamaLike(shape);
      ModelOptions options = Float64Options();
      options.recompute = level;
      ParameterSet set;
      DeclareLayer(model.layers[1], options, RankIn(mesh->tp()), set);
      const DecoderLayer layer(model.layers[1], options, mesh->tp(), set);
      AllocateForTest(set);
      CopyValues(set, SeededTensors(set));
      const RopeTables ropes = MakeRopeTables(model.ropes, 16, options.compute, at::kCPU);
      const SequenceRegion region(mesh->tp(), options.sequence_parallel);
      const at::Tensor x = LocalRows(region, SeededTensor({12, shape.hidden_size}, "x").detach());
      const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
      DecoderLayerSaved saved;
      at::Tensor y = layer.Forward(x, PackedContext(), ropes, &saved);
      const int64_t kept = MemoryOf(MemoryCategory::kSaved).current_bytes - before;
      EXPECT_EQ(kept, KeptBytes(model.layers[1], options, mesh->tp().size(), 12));
      const int64_t workspace = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
      at::Tensor dx = layer.Backward(at::ones_like(y), PackedContext(), ropes, saved, true);
      dx.reset();
      EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, workspace);
    }
  }
}

TEST(DecoderLayer, SaysThatHeadsOfLatentsArePadded) {
  const auto said = [](int64_t nope, int64_t v) {
    LlamaShape shape = TinyLlama();
    LikeDeepseekV2(shape);  // 4 of a head turn
    shape.latent.nope_dim = nope;
    shape.latent.v_dim = v;
    return PaddedAttention(LlamaLike(shape).layers);
  };
  EXPECT_THAT(said(6, 7),
              ::testing::HasSubstr("queries and keys of 10, values of 7, padded to 16"));
  EXPECT_THAT(said(6, 10),
              ::testing::HasSubstr("queries and keys of 10, values of 10, padded to 16"));
  EXPECT_EQ(said(12, 16), "");
}

TEST(DecoderLayer, WhatIsRecomputedIsWorkspaceAndGoneAfterwards) {
  const ModelVariant lora{"", [](LlamaShape&, ModelOptions& o) { UseLora(o, AllLinear()); }};
  for (const Recompute level : {Recompute::kSmart, Recompute::kFull}) {
    LayerOnTp rig(lora, /*sequence_parallel=*/true, level);
    const c10::NoGradGuard no_grad;
    const int64_t workspace = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
    const at::Tensor x = rig.Local(SeededTensor({12, rig.config.hidden_size}, "x"));
    DecoderLayerSaved saved;
    const at::Tensor y = rig.layer->Forward(x, PackedContext(), rig.ropes, &saved);
    EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, workspace);
    ResetMemoryPeaks();
    const int64_t kept = MemoryOf(MemoryCategory::kSaved).current_bytes;
    at::Tensor dx = rig.layer->Backward(at::ones_like(y), PackedContext(), rig.ropes, saved, true);
    EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).peak_bytes, kept);
    dx.reset();
    EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, workspace);
  }
}

}  // namespace
}  // namespace fttrain
