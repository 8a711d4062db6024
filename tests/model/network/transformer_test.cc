#include "model/network/transformer.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "parallel/pipeline/schedule.h"
#include "runtime/math/philox.h"
#include "tests/model/family_shapes.h"
#include "tests/model/rig.h"

namespace fttrain {
namespace {

// Documents of one optimizer step, the same on every rank; two to a microbatch.
constexpr int kMicrobatches = 4;
const std::vector<std::vector<int64_t>> kDocuments = {{6, 5}, {9}, {3, 4, 3}, {7, 2}};

struct HostBatch {
  std::vector<int32_t> ids, targets, cu_seqlens{0};
  std::vector<int64_t> token_index;
};

// Next-token targets, the first third of each document masked; microbatch 3 has none at all.
HostBatch MakeHostBatch(int microbatch, int64_t vocab) {
  HostBatch batch;
  for (const int64_t length : kDocuments[microbatch]) {
    const int64_t begin = batch.cu_seqlens.back();
    for (int64_t i = 0; i < length; ++i) {
      batch.ids.push_back(static_cast<int32_t>((microbatch * 31 + (begin + i) * 7) % vocab));
      const bool target = microbatch != 3 && 3 * i >= length && i + 1 < length;
      batch.targets.push_back(
          target ? static_cast<int32_t>((microbatch * 31 + (begin + i + 1) * 7) % vocab) : -100);
      batch.token_index.push_back(microbatch * 64 + begin + i);
    }
    batch.cu_seqlens.push_back(static_cast<int32_t>(begin + length));
  }
  return batch;
}

ModelBatch OnRank(const HostBatch& host, int64_t multiple) {
  return MakeModelBatch(host.ids, host.targets, host.cu_seqlens, host.token_index, StepKey(5, 2),
                        multiple, at::kCPU);
}

// The tiny transformer on a tp x dp mesh, its step's microbatches dealt over dp. `layers_per_run`
// is of two layers: of a variant with more, runs are as many times as long.
struct TransformerOnMesh : PartOnMesh {
  TransformerOnMesh(
      const ModelVariant& variant, int tp, bool sequence_parallel,
      std::vector<int> layers_per_run = {},
      const std::function<void(ModelOptions&)>& apply = [](ModelOptions&) {})
      : PartOnMesh(tp) {
    options.sequence_parallel = sequence_parallel;
    variant.apply(config, options);
    for (int& layers : layers_per_run) layers *= static_cast<int>(config.num_layers) / 2;
    if (!layers_per_run.empty()) options.layers_per_run = std::move(layers_per_run);
    apply(options);
    model = std::make_unique<Transformer>(LlamaLike(config), options, *mesh, set,
                                          /*max_positions=*/32, at::kCPU);
    FillDeclared();
    model->UseStore(*store);
  }
  // Forward and backward of one optimizer step, then sync. Returns this rank's loss sum.
  double RunStep(double scale, double router_scale = 0) {
    std::vector<ModelBatch> mine;
    const MeshShape& shape = mesh->shape();
    for (int i = mesh->position().dp; i < kMicrobatches; i += shape.dp) {
      mine.push_back(OnRank(MakeHostBatch(i, config.vocab_size), shape.tp));
    }
    const int count = static_cast<int>(mine.size()), chunks = model->num_chunks();
    model->BeginStep(std::move(mine), std::make_unique<TokenLoss>(scale), router_scale);
    RunSchedule(chunks == 1 ? OneForwardOneBackward(0, 1, count) : LayerMajor(chunks, count),
                *model);
    optimizer->SyncGradients();
    return model->LossSum().item<double>();
  }
  std::unique_ptr<Transformer> model;
};

// tp 0: all ranks of the job.
class TransformerOn : public ::testing::TestWithParam<std::tuple<ModelVariant, int, bool>> {};

TEST_P(TransformerOn, GradientsOfAStepEqualAutogradInFloat64) {
  const auto& [variant, tp, sequence_parallel] = GetParam();
  const int world = TestProcess().world_size();
  TransformerOnMesh rig(variant, tp == 0 ? world : std::min(tp, world), sequence_parallel);
  const OracleModel oracle = rig.Oracle();
  const double scale = 1.0 / 29.0;
  at::Tensor want = at::zeros({}, at::kDouble);
  for (int i = 0; i < kMicrobatches; ++i) {
    want = want + OracleTransformerLoss(oracle, OnRank(MakeHostBatch(i, rig.config.vocab_size), 1));
  }
  (want * scale).backward();

  at::Tensor loss = at::full({1}, rig.RunStep(scale), at::kDouble);
  rig.mesh->dp().AllReduce(loss);
  EXPECT_NEAR(loss.item<double>(), want.item<double>(), 1e-10 * want.item<double>());
  ExpectGradientsNear(rig.set, rig.params, 1e-10);

  double squares = 0.0;
  for (const Parameter* parameter : rig.set.Trainable()) {
    squares += rig.params.at(parameter->slice.name).grad().square().sum().item<double>();
  }
  EXPECT_NEAR(rig.optimizer->GradientNorm(), std::sqrt(squares), 1e-10 * std::sqrt(squares));
}

const ModelVariant kVariants[] = {
    {"FullFineTuning",
     [](LlamaShape& c, ModelOptions& o) {
       c.layer_windows = {0, 4}, o.train_base = true;
     }},
    {"TiedWithBiasesAndNorms",
     [](LlamaShape& c, ModelOptions& o) {
       c.tie_word_embeddings = c.qkv_bias = c.o_bias = c.mlp_bias = c.qk_norm = true;
       o.train_base = true;
     }},
    {"LoraWithDropout",
     [](LlamaShape& c, ModelOptions& o) {
       c.qkv_bias = true;
       UseLora(o, AllLinear());
       o.adapter->dropout = 0.2;
     }},
    {"LoraOfSomeLinearsOfSomeLayersEachWithItsOwnRankAndScale",
     [](LlamaShape& c, ModelOptions& o) {
       c.num_layers = 4;
       UseLora(o, AllLinear());
       o.adapter->exclude_modules = {{}, R"(.*\.(1\.self_attn|0\.mlp)\..*)"};
       o.adapter->layers_to_transform = {0, 1, 3};
       o.adapter->rank_pattern = {{"k_proj", 3}, {"1.mlp.gate_proj", 1}};
       o.adapter->alpha_pattern = {{"k_proj", 2.0}, {"3.mlp.up_proj", 11.0}};
     }},
    {"QloraOfTheHeadTooEmbeddingOnHost",
     [](LlamaShape&, ModelOptions& o) {
       UseNf4(o, {.block_size = 32, .double_quant = false}, {"model.layers.0.mlp.up_proj"});
       UseLora(o, {"q_proj", "v_proj"});
       o.embedding_on_host = true;
     }},
    {"QloraWithATiedHead",
     [](LlamaShape& c, ModelOptions& o) {
       c.tie_word_embeddings = true;
       UseNf4(o, {}, {});
       UseLora(o, AllLinear());
     }},
};
// The wiring of other families; what recomputing does to it is seen in decoder_layer_test.cc.
const ModelVariant kFamilyVariants[] = {
    {"Gemma2Full",
     [](LlamaShape& c, ModelOptions& o) {
       LikeGemma2(c), c.tie_word_embeddings = o.train_base = true;
     }},
    {"Gemma3LoraWithDropout",
     [](LlamaShape& c, ModelOptions& o) {
       LikeGemma3(c), UseLora(o, AllLinear());
       o.adapter->dropout = 0.2;
     }},
    {"Olmo2Full", [](LlamaShape& c, ModelOptions& o) { LikeOlmo2(c), o.train_base = true; }},
    {"GraniteFull",
     [](LlamaShape& c, ModelOptions& o) {
       LikeGranite(c), c.tie_word_embeddings = o.train_base = true;
     }},
    {"Cohere2FullWithLora",
     [](LlamaShape& c, ModelOptions& o) {
       LikeCohere2(c), UseLora(o, AllLinear());
       o.train_base = true;
     }},
    {"MixtralFull",
     [](LlamaShape& c, ModelOptions& o) {
       LikeMixtral(c), c.tie_word_embeddings = o.train_base = true;
     }},
    {"Qwen3MoeQlora",
     [](LlamaShape& c, ModelOptions& o) {
       LikeQwen3Moe(c), UseNf4(o), UseLora(o, {"q_proj", "k_proj", "v_proj", "o_proj"});
     }},
    {"DeepseekV3Full",
     [](LlamaShape& c, ModelOptions& o) { LikeDeepseekV3(c), o.train_base = true; }},
    {"DeepseekV2QloraWithDropout",
     [](LlamaShape& c, ModelOptions& o) {
       LikeDeepseekV2(c), UseNf4(o);
       UseLora(o, {"q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"});
       o.adapter->dropout = 0.2;
     }},
    {"GptOssFull", [](LlamaShape& c, ModelOptions& o) { LikeGptOss(c), o.train_base = true; }},
    {"GptOssQlora",
     [](LlamaShape& c, ModelOptions& o) {
       LikeGptOss(c), UseNf4(o), UseLora(o, {"q_proj", "k_proj", "v_proj", "o_proj"});
     }},
    {"Phi3QloraWithDropout",
     [](LlamaShape& c, ModelOptions& o) {
       LikePhi3(c), UseNf4(o), UseLora(o, {"qkv_proj", "o_proj", "gate_up_proj"});
       o.adapter->dropout = 0.2;
     }},
};
// With a routers' loss as large as the tokens'. Rows that pad a microbatch for tp count nowhere:
// the oracle has none.
class TransformerWithRouterLossOn : public TransformerOn {};

TEST_P(TransformerWithRouterLossOn, GradientsOfAStepEqualAutogradInFloat64) {
  const auto& [variant, tp, sequence_parallel] = GetParam();
  const int world = TestProcess().world_size();
  const double scale = 1.0 / 29.0, router_scale = 2.0 / 39.0;
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
    for (const std::vector<int>& runs : {std::vector<int>{}, {1, 1}}) {
      SCOPED_TRACE(testing::Message()
                   << "level " << static_cast<int>(recompute) << ", runs " << runs.size());
      TransformerOnMesh rig(variant, tp == 0 ? world : std::min(tp, world), sequence_parallel, runs,
                            [&](ModelOptions& options) {
                              options.recompute = recompute;
                              options.activations_on_host = recompute == Recompute::kSmart;
                            });
      OracleModel oracle = rig.Oracle();
      at::Tensor tokens = at::zeros({}, at::kDouble), routers = at::zeros({}, at::kDouble);
      for (int i = 0; i < kMicrobatches; ++i) {
        std::vector<OracleRoutes> routes;
        oracle.routes = &routes;
        const HostBatch batch = MakeHostBatch(i, rig.config.vocab_size);
        tokens = tokens + OracleTransformerLoss(oracle, OnRank(batch, 1));
        routers = routers + OracleRouterLoss(routes) * static_cast<double>(batch.ids.size());
      }
      (tokens * scale + routers * router_scale).backward();

      at::Tensor loss = at::full({1}, rig.RunStep(scale, router_scale), at::kDouble);
      loss = at::cat({loss, rig.model->RouterLossSum().view(1)});
      rig.mesh->dp().AllReduce(loss);
      EXPECT_LE(RelativeError(loss[0], tokens), 1e-10);
      EXPECT_LE(RelativeError(loss[1], routers), 1e-10);
      ExpectGradientsNear(rig.set, rig.params, 1e-10);
    }
  }
}

const ModelVariant kBalancedVariants[] = {
    {"MixtralFull",
     [](LlamaShape& c, ModelOptions& o) {
       LikeMixtral(c), c.tie_word_embeddings = o.train_base = true;
     }},
    {"Qwen3MoeFull", [](LlamaShape& c, ModelOptions& o) { LikeQwen3Moe(c), o.train_base = true; }},
    {"Qwen3MoeQlora",
     [](LlamaShape& c, ModelOptions& o) {
       LikeQwen3Moe(c), UseNf4(o), UseLora(o, {"q_proj", "k_proj", "v_proj", "o_proj"});
     }},
    {"GptOssFull", [](LlamaShape& c, ModelOptions& o) { LikeGptOss(c), o.train_base = true; }},
    {"GptOssQlora",
     [](LlamaShape& c, ModelOptions& o) {
       LikeGptOss(c), UseNf4(o), UseLora(o, {"q_proj", "k_proj", "v_proj", "o_proj"});
     }},
};

std::string TestName(const ::testing::TestParamInfo<std::tuple<ModelVariant, int, bool>>& test) {
  const auto& [variant, tp, sequence_parallel] = test.param;
  return variant.name + (tp == 0 ? "TpOfAllRanks" : "Tp" + std::to_string(tp)) +
         (sequence_parallel ? "SequenceParallel" : "");
}
// On four ranks: tp 4, dp 4 and tp 2 x dp 2.
INSTANTIATE_TEST_SUITE_P(Layouts, TransformerOn,
                         ::testing::Combine(::testing::ValuesIn(kVariants),
                                            ::testing::Values(0, 1, 2), ::testing::Bool()),
                         TestName);

INSTANTIATE_TEST_SUITE_P(Families, TransformerOn,
                         ::testing::Combine(::testing::ValuesIn(kFamilyVariants),
                                            ::testing::Values(0, 1), ::testing::Bool()),
                         TestName);

INSTANTIATE_TEST_SUITE_P(Families, TransformerWithRouterLossOn,
                         ::testing::Combine(::testing::ValuesIn(kBalancedVariants),
                                            ::testing::Values(0, 1), ::testing::Bool()),
                         TestName);

const ModelVariant kNarrowVariants[] = {
    {"Float32",
     [](LlamaShape&, ModelOptions& o) { UseLora(o, AllLinear()), o.compute = at::kFloat; }},
    {"Bfloat16",
     [](LlamaShape& c, ModelOptions& o) {
       c.qk_norm = c.qkv_bias = o.train_base = true;
       o.compute = at::kBFloat16;
       UseLora(o, AllLinear());
     }},
};

class KeepingOn : public ::testing::TestWithParam<std::tuple<ModelVariant, int, bool>> {};

TEST_P(KeepingOn, EveryLevelAndPlaceGivesTheBitsOfKeepingAllOnTheDevice) {
  const auto& [variant, tp, sequence_parallel] = GetParam();
  const int world = TestProcess().world_size();
  for (const std::vector<int>& runs : {std::vector<int>{}, {1, 1}}) {
    const auto rig_of = [&](Recompute recompute, bool on_host) {
      return std::make_unique<TransformerOnMesh>(variant, tp == 0 ? world : std::min(tp, world),
                                                 sequence_parallel, runs,
                                                 [&](ModelOptions& options) {
                                                   options.recompute = recompute;
                                                   options.activations_on_host = on_host;
                                                 });
    };
    const auto want = rig_of(Recompute::kNone, false);
    const double loss = want->RunStep(1.0 / 29.0);
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
      for (const bool on_host : {false, true}) {
        SCOPED_TRACE(testing::Message() << "level " << static_cast<int>(recompute) << ", on host "
                                        << on_host << ", runs " << runs.size());
        const auto got = rig_of(recompute, on_host);
        EXPECT_EQ(got->RunStep(1.0 / 29.0), loss);
        for (const Parameter* parameter : got->set.Trainable()) {
          EXPECT_TRUE(at::equal(parameter->grad, want->set.Find(parameter->slice.name)->grad))
              << parameter->slice.name;
        }
      }
    }
  }
}
const auto kKeepingLayouts = [](const auto& variants) {
  return ::testing::Combine(::testing::ValuesIn(variants), ::testing::Values(0, 2),
                            ::testing::Bool());
};
INSTANTIATE_TEST_SUITE_P(Float64, KeepingOn, kKeepingLayouts(kVariants), TestName);
INSTANTIATE_TEST_SUITE_P(Narrow, KeepingOn, kKeepingLayouts(kNarrowVariants), TestName);

const ModelVariant kLora{"", [](LlamaShape&, ModelOptions& o) {
                           UseLora(o, AllLinear());
                           o.adapter->dropout = 0.5;
                         }};

// Parameters add up the same microbatches in the same order under both schedules, but for a tied
// head, to which embedding and logits add in turns.
TEST(Transformer, LayerMajorGivesTheBitsOfOneForwardOneBackward) {
  for (const ModelVariant& variant : kVariants) {
    for (const int tp : {1, std::min(2, TestProcess().world_size())}) {
      SCOPED_TRACE(testing::Message() << variant << ", tp " << tp);
      TransformerOnMesh want(variant, tp, /*sequence_parallel=*/true);
      TransformerOnMesh got(variant, tp, /*sequence_parallel=*/true, {1, 1});
      EXPECT_EQ(got.model->num_chunks(), 2);
      EXPECT_EQ(got.RunStep(1.0 / 29.0), want.RunStep(1.0 / 29.0));
      for (const Parameter* parameter : want.set.Trainable()) {
        const std::string& name = parameter->slice.name;
        const bool in_turns = want.config.tie_word_embeddings && name.ends_with("tokens.weight");
        const double error = RelativeError(got.set.Find(name)->grad, parameter->grad);
        EXPECT_LE(error, in_turns ? 1e-14 : 0.0) << name;
      }
    }
  }
}

// What is made of the adapters once a step is not there any more in the next.
TEST(Transformer, EveryStepReadsTheAdaptersAsTheyAreThen) {
  const ModelVariant lora{"", [](LlamaShape&, ModelOptions& o) { UseLora(o, AllLinear()); }};
  for (const at::ScalarType compute : {at::kDouble, at::kBFloat16}) {
    for (const std::vector<int>& runs : {std::vector<int>{}, {1, 1}}) {
      const auto rig_of = [&] {
        return std::make_unique<TransformerOnMesh>(
            lora, /*tp=*/1, /*sequence_parallel=*/false, runs,
            [&](ModelOptions& options) { options.compute = compute; });
      };
      const auto change = [](TransformerOnMesh& rig) {
        for (const Parameter* parameter : rig.set.Trainable()) parameter->value.mul_(1.5);
      };
      const auto got = rig_of(), want = rig_of();
      const double first = got->RunStep(1.0 / 29.0);
      got->optimizer->ZeroGradients();
      change(*got);
      change(*want);
      const double loss = want->RunStep(1.0 / 29.0);
      if (first != 0.0 || TestProcess().rank() == 0) {  // the last of four replicas has no targets
        EXPECT_NE(loss, first);
      }
      EXPECT_EQ(got->RunStep(1.0 / 29.0), loss);
      for (const Parameter* parameter : want->set.Trainable()) {
        EXPECT_TRUE(at::equal(parameter->grad, got->set.Find(parameter->slice.name)->grad))
            << parameter->slice.name;
      }
    }
  }
}

TEST(Transformer, RefusesRunsThatAreNotTheModelsLayers) {
  const auto build = [](std::vector<int> runs) {
    TransformerOnMesh(kLora, /*tp=*/1, /*sequence_parallel=*/false, std::move(runs));
  };
  EXPECT_THROW(build({1}), c10::Error);
  EXPECT_THROW(build({2, 1}), c10::Error);
  EXPECT_THROW(build({0, 2}), c10::Error);
}

// Square root of the sum over all trained parameters of |got - want|^2, relative to |want|.
double GradientError(const NamedTensors& got, const NamedTensors& want) {
  double error = 0.0, size = 0.0;
  for (const auto& [name, tensor] : got) {
    const at::Tensor reference = want.at(name).grad();
    error += (tensor.to(at::kDouble) - reference).square().sum().item<double>();
    size += reference.square().sum().item<double>();
  }
  return std::sqrt(error / size);
}

TEST(Transformer, Bfloat16GradientsAreAsCloseToFloat64AsThePlainBfloat16Models) {
  TransformerOnMesh rig(kNarrowVariants[1], /*tp=*/1, /*sequence_parallel=*/false);
  OracleModel exact{rig.config, rig.options, {}}, plain = exact;
  for (const auto& [name, tensor] : rig.params) {
    plain.params[name] = tensor.detach().to(at::kBFloat16).set_requires_grad(true);
    exact.params[name] = plain.params[name].detach().to(at::kDouble).set_requires_grad(true);
  }
  CopyValues(rig.set, exact.params);
  const double scale = 1.0 / 29.0;
  for (int i = 0; i < kMicrobatches; ++i) {
    const ModelBatch batch = OnRank(MakeHostBatch(i, rig.config.vocab_size), 1);
    (OracleTransformerLoss(exact, batch) * scale).backward();
    (OracleTransformerLoss(plain, batch) * scale).backward();
  }
  rig.RunStep(scale);
  NamedTensors ours, plains;
  for (const Parameter* parameter : rig.set.Trainable()) {
    ours[parameter->slice.name] = parameter->grad;
    plains[parameter->slice.name] = plain.params.at(parameter->slice.name).grad();
  }
  const double error = GradientError(ours, exact.params);
  EXPECT_GT(error, 1e-4) << "this is not bfloat16";
  EXPECT_LE(error, GradientError(plains, exact.params));
}

TEST(Transformer, EvaluationEqualsThePlainModelWithoutDropoutAndWithoutAdaptersTheBase) {
  TransformerOnMesh rig(kLora, TestProcess().world_size(), /*sequence_parallel=*/true);
  const ModelBatch batch = OnRank(MakeHostBatch(2, 37), TestProcess().world_size());
  const OracleModel oracle = rig.Oracle();
  ModelBatch plain = OnRank(MakeHostBatch(2, 37), 1);
  plain.context.dropout = {};
  const double want = OracleTransformerLoss(oracle, plain).item<double>();
  EXPECT_NEAR(rig.model->EvaluateLoss(batch), want, 1e-10 * want);

  OracleModel base = oracle;
  std::erase_if(base.params,
                [](const auto& each) { return each.first.find(".lora_") != std::string::npos; });
  ASSERT_LT(base.params.size(), oracle.params.size());
  ModelBatch without = batch;
  without.context.adapters = false;
  const double reference = OracleTransformerLoss(base, plain).item<double>();
  EXPECT_GT(std::abs(reference - want), 1e-3 * want);
  EXPECT_NEAR(rig.model->EvaluateLoss(without), reference, 1e-10 * reference);

  const at::Tensor x = OracleLayers(oracle, plain);
  const at::Tensor rows = at::tensor(std::vector<int64_t>{6, 9}, at::kLong);
  EXPECT_LE(
      RelativeError(rig.model->Logits(batch, rows), OracleLogits(oracle, x).index_select(0, rows)),
      1e-10);
}

TEST(Transformer, OnlyTheMatricesOfLayersAndHeadAreNf4) {
  const auto packed = [](const ModelVariant& variant) {
    const TransformerOnMesh rig(variant, /*tp=*/1, /*sequence_parallel=*/false);
    std::set<std::string> names;
    for (const auto& parameter : rig.set.all()) {
      if (parameter->packed_bytes > 0) names.insert(parameter->slice.name);
    }
    return names;
  };
  const std::set<std::string> all =
      packed({"", [](LlamaShape&, ModelOptions& o) { UseNf4(o, {}, {}); }});
  EXPECT_EQ(all.size(), 2 * 7 + 1u);
  EXPECT_TRUE(all.contains("lm_head.weight"));
  EXPECT_FALSE(all.contains("model.embed_tokens.weight"));
  const std::set<std::string> tied = packed({"", [](LlamaShape& c, ModelOptions& o) {
                                               c.tie_word_embeddings = true;
                                               UseNf4(o, {}, {});
                                             }});
  EXPECT_EQ(tied.size(), 2 * 7u);
  const std::set<std::string> some =
      packed({"", [](LlamaShape&, ModelOptions& o) {
                UseNf4(o, {}, {"lm_head", "model.layers.1.mlp.up_proj"});
              }});
  EXPECT_EQ(some.size(), 2 * 7 - 1u);
  EXPECT_FALSE(some.contains("model.layers.1.mlp.up_proj.weight"));
  EXPECT_TRUE(some.contains("model.layers.0.mlp.up_proj.weight"));
}

TEST(Transformer, RefusesAnEmbeddingOnTheHostThatOthersNeed) {
  const auto build = [](const ModelVariant& variant) { TransformerOnMesh(variant, 1, false); };
  EXPECT_THROW(
      build({"", [](LlamaShape&, ModelOptions& o) { o.embedding_on_host = o.train_base = true; }}),
      c10::Error);
  EXPECT_THROW(
      build({"", [](LlamaShape& c,
                    ModelOptions& o) { c.tie_word_embeddings = o.embedding_on_host = true; }}),
      c10::Error);
}

// Bytes that chunk 0 of a QLoRA model holds after its first forward of a layer-major step.
int64_t BytesHeld(std::vector<int> layers_per_run, int microbatches) {
  const ModelVariant qlora{"", [](LlamaShape&, ModelOptions& o) { UseNf4(o, {}, {}); }};
  const int chunks = static_cast<int>(layers_per_run.size());
  TransformerOnMesh rig(qlora, /*tp=*/1, /*sequence_parallel=*/false, std::move(layers_per_run));
  std::vector<ModelBatch> batches;
  for (int i = 0; i < microbatches; ++i) batches.push_back(OnRank(MakeHostBatch(i, 37), 1));
  rig.model->BeginStep(std::move(batches), std::make_unique<TokenLoss>(1.0));
  const auto workspace = [] { return MemoryOf(MemoryCategory::kWorkspace).current_bytes; };
  const int64_t before = workspace();
  rig.model->BeginSchedule(LayerMajor(chunks, microbatches));
  rig.model->Forward(0, 0, {});
  return workspace() - before;
}

TEST(Transformer, DequantisesAChunkOfOneLayerOnceForSeveralMicrobatches) {
  const LlamaShape c = TinyLlama();
  const int64_t layer = c.hidden_size * c.head_dim * 2 * (c.num_heads + c.num_kv_heads) +
                        3 * c.hidden_size * c.intermediate_size;
  EXPECT_EQ(BytesHeld({1, 1}, 2), 8 * layer);  // float64
  EXPECT_EQ(BytesHeld({1, 1}, 1), 0) << "one microbatch gains nothing";
  EXPECT_EQ(BytesHeld({2}, 2), 0) << "the whole model must not be dense at once";
}

TEST(MakeModelBatch, PadsWithADocumentThatHasNoTargets) {
  const ModelBatch batch =
      MakeModelBatch({4, 5, 6}, {5, -100, 9}, {0, 2, 3}, {70, 71, 72}, 1, 4, at::kCPU);
  EXPECT_EQ(batch.context.layout.cu_seqlens, (std::vector<int32_t>{0, 2, 3, 4}));
  EXPECT_EQ(batch.input_ids_host, (std::vector<int64_t>{4, 5, 6, 0}));
  EXPECT_TRUE(at::equal(batch.input_ids, at::tensor(batch.input_ids_host, at::kLong)));
  EXPECT_EQ(batch.context.dropout.token_index.size(0), 4);
  EXPECT_TRUE(at::equal(batch.target_rows, at::tensor(std::vector<int64_t>{0, 2}, at::kLong)));
  EXPECT_TRUE(at::equal(batch.targets, at::tensor(std::vector<int64_t>{5, 9}, at::kLong)));
}

TEST(MakeModelBatch, AnEmptyShareBecomesOneDocumentWithoutTargets) {
  const ModelBatch batch = MakeModelBatch({}, {}, {0}, {}, 1, 2, at::kCPU);
  EXPECT_EQ(batch.context.layout.cu_seqlens, (std::vector<int32_t>{0, 2}));
  EXPECT_EQ(batch.target_rows.size(0), 0);
}

}  // namespace
}  // namespace fttrain
