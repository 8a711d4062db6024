// What routing can come to, beside autograd; the rest of the block is in decoder_layer_test.cc.
#include "model/blocks/moe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/blocks/decoder_layer.h"
#include "model/blocks/parameters.h"
#include "tests/local_rows.h"
#include "tests/model/family_shapes.h"
#include "tests/model/rig.h"

namespace fttrain {
namespace {

constexpr char kRouter[] = "model.layers.0.block_sparse_moe.gate.weight";

struct Routing {
  std::string name;
  std::vector<double> scores;  // of experts
  int64_t top_k;
  bool renormalize;
  int64_t tokens;
  std::vector<int64_t> rows;  // that each expert has
};
std::ostream& operator<<(std::ostream& out, const Routing& routing) { return out << routing.name; }

// Layer 0 with experts, all of it trained, on all ranks of the job as one tp group. Its experts
// read rows of positive numbers, so that the router's rows say who is chosen: `scores` has, of each
// expert, what all elements of its row are.
struct MoeOnTp : PartOnMesh {
  MoeOnTp(const Routing& routing, Recompute recompute) : PartOnMesh(TestProcess().world_size()) {
    const std::vector<double>& scores = routing.scores;
    LikeMixtral(config);
    config.moe.experts = static_cast<int64_t>(scores.size());
    config.moe.top_k = routing.top_k;
    config.moe.renormalize = routing.renormalize;
    options.train_base = true;
    options.sequence_parallel = routing.tokens % TestProcess().world_size() == 0;
    options.recompute = recompute;
    const ModelSpec model = LlamaLike(config);
    layer_spec = {model.layers[0][1]};
    DeclareLayer(layer_spec, options, RankIn(mesh->tp()), set);
    layer = std::make_unique<DecoderLayer>(layer_spec, options, mesh->tp(), set);
    FillDeclared();
    const c10::NoGradGuard no_grad;
    at::Tensor& router = params.at(kRouter);
    router.copy_(at::tensor(scores, at::kDouble).unsqueeze(1).expand_as(router) / 32);
    CopyValues(set, params);
  }

  LayerSpec layer_spec;
  std::unique_ptr<DecoderLayer> layer;
};

// The layer's y as a plain sum over experts.
at::Tensor Plain(const MoeOnTp& rig, const at::Tensor& x) {
  const NamedTensors& p = rig.params;
  const ExpertShape& moe = rig.config.moe;
  const at::Tensor root = (x.square().mean(-1, true) + rig.config.rms_norm_eps).rsqrt();
  const at::Tensor read = x * root * p.at("model.layers.0.post_attention_layernorm.weight");
  const at::Tensor probabilities = read.matmul(p.at(kRouter).t()).softmax(-1);
  auto [shares, chosen] = at::topk(probabilities, moe.top_k);
  if (moe.renormalize) shares = shares / shares.sum(-1, true);
  at::Tensor y = x;
  for (int64_t e = 0; e < moe.experts; ++e) {
    const auto weight = [&](const char* name) {
      return p.at("model.layers.0.block_sparse_moe.experts." + std::to_string(e) + "." + name +
                  ".weight");
    };
    const at::Tensor share = at::where(chosen.eq(e), shares, at::zeros_like(shares)).sum(-1, true);
    const at::Tensor hidden =
        at::silu(read.matmul(weight("w1").t())) * read.matmul(weight("w3").t());
    y = y + share * hidden.matmul(weight("w2").t());
  }
  return y;
}

class MoeRouting : public ::testing::TestWithParam<Routing> {};

TEST_P(MoeRouting, ValuesAndGradientsEqualAutogradInFloat64) {
  const Routing& routing = GetParam();
  for (const Recompute recompute : {Recompute::kNone, Recompute::kFull}) {
    MoeOnTp rig(routing, recompute);
    const std::vector<int64_t> shape = {routing.tokens, rig.config.hidden_size};
    const at::Tensor x = SeededTensor(shape, "x").detach().abs().set_requires_grad(true);
    const at::Tensor dy = SeededTensor(shape, "dy").detach();
    const at::Tensor want = Plain(rig, x);
    want.backward(dy);

    const c10::NoGradGuard no_grad;
    MicrobatchContext context;
    context.layout = MakeSequenceLayout({0, static_cast<int32_t>(routing.tokens)}, at::kCPU);
    DecoderLayerSaved saved;
    const at::Tensor y = rig.layer->Forward(rig.Local(x), context, {}, &saved);
    EXPECT_LE(RelativeError(y, rig.Local(want)), 1e-10);
    if (recompute == Recompute::kNone) {
      std::vector<int64_t> rows = static_cast<MoeSaved&>(*saved.blocks.front()).routes.ends;
      for (size_t e = rows.size(); e-- > 1;) rows[e] -= rows[e - 1];
      if (!routing.rows.empty()) {
        EXPECT_EQ(rows, routing.rows);
      }
    }
    rig.optimizer->ZeroGradients();
    const at::Tensor dx = rig.layer->Backward(rig.Local(dy), context, {}, saved, /*need_dx=*/true);
    rig.optimizer->SyncGradients();
    EXPECT_LE(RelativeError(dx, rig.Local(x.grad())), 1e-10);
    for (const Parameter* parameter : rig.set.Trainable()) {
      const at::Tensor whole = rig.params.at(parameter->slice.name).grad();
      const at::Tensor mine = parameter->slice.PartOf(whole);
      const double size = std::max(mine.abs().max().item<double>(), 1e-3);
      EXPECT_LE((parameter->grad - mine).abs().max().item<double>(), 1e-10 * size)
          << parameter->slice.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    , MoeRouting,
    ::testing::Values(
        Routing{"AllTokensToOneExpert", {3, 0, -1, -2}, 1, false, 12, {12, 0, 0, 0}},
        Routing{
            "TwoExpertsWithoutATokenBetweenOthers", {1, -3, -4, 2}, 2, true, 12, {12, 0, 0, 12}},
        // Which of equal ones is torch.topk's choice, the oracle's too.
        Routing{"EqualScores", {1, 1, 1, 1, 1, 1}, 2, false, 12, {}},
        Routing{"EqualScoresAtTheBorder", {2, 1, 1, 1}, 2, true, 12, {}},
        Routing{"EveryExpertHasEveryToken", {1, 2, 0}, 3, false, 12, {12, 12, 12}},
        Routing{"EveryExpertHasEveryTokenSumOfOne", {1, 2, 0}, 3, true, 12, {12, 12, 12}},
        Routing{"OneToken", {1, 2, 0}, 2, true, 1, {1, 1, 0}}),
    [](const auto& test) { return test.param.name; });

// A router that is kept in float32 is so in bfloat16 compute, and is trained so.
TEST(Moe, RouterMayBeInFloat32) {
  LlamaShape shape = TinyLlama();
  LikeMixtral(shape);
  shape.moe.float32_router = true;
  const LayerSpec layer = {LlamaLike(shape).layers[0][1]};
  for (const auto& [compute, router] :
       {std::pair(at::kBFloat16, at::kFloat), std::pair(at::kFloat, at::kFloat),
        std::pair(at::kDouble, at::kDouble)}) {
    ModelOptions options;
    options.compute = compute;
    options.train_base = true;
    ParameterSet set;
    DeclareLayer(layer, options, {}, set);
    for (const auto& parameter : set.all()) {
      EXPECT_EQ(parameter->dtype, parameter->slice.name == kRouter ? router : compute)
          << parameter->slice.name;
      EXPECT_TRUE(parameter->trainable);
    }
  }
}

}  // namespace
}  // namespace fttrain
