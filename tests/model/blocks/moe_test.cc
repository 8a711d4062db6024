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
  // Rows of numbers of either sign: about half of them choose the experts of lowest scores.
  bool both_ways = false;
};
std::ostream& operator<<(std::ostream& out, const Routing& routing) { return out << routing.name; }

// Layer 0 with experts, all of it trained, on all ranks of the job: as one tp group, or as `ep` of
// them, which divide the experts and have tokens of their own, each one more than the one before.
// Experts read rows of positive numbers, so that the router's rows say who is chosen: `scores` has,
// of each expert, what all elements of its row are.
struct MoeOnMesh : PartOnMesh {
  MoeOnMesh(const Routing& routing, Recompute recompute, int ep)
      : PartOnMesh(TestProcess().world_size() / ep, ep) {
    const std::vector<double>& scores = routing.scores;
    LikeMixtral(config);
    config.moe.experts = static_cast<int64_t>(scores.size());
    config.moe.top_k = routing.top_k;
    config.moe.renormalize = routing.renormalize;
    options.train_base = true;
    tokens.resize(static_cast<size_t>(ep));
    for (int rank = 0; rank < ep; ++rank) {
      tokens[static_cast<size_t>(rank)] = routing.tokens + (routing.rows.empty() ? 0 : rank);
      if (tokens[static_cast<size_t>(rank)] % mesh->tp().size() != 0) {
        options.sequence_parallel = false;
      }
    }
    options.recompute = recompute;
    const LayerSpec whole = {LlamaLike(config).layers[0][1]};
    layer_spec = PartOfExperts(whole, mesh->ep().rank(), ep);
    DeclareLayer(layer_spec, options, RankIn(mesh->tp()), set);
    layer = std::make_unique<DecoderLayer>(layer_spec, options, mesh->tp(), set, nullptr,
                                           ep > 1 ? &mesh->ep() : nullptr);
    FillDeclared();
    DeclareLayer(whole, options, {}, all);
    params = SeededTensors(all);
    const c10::NoGradGuard no_grad;
    at::Tensor& router = params.at(kRouter);
    router.copy_(at::tensor(scores, at::kDouble).unsqueeze(1).expand_as(router) / 32);
    CopyValues(set, params);
  }

  int64_t mine() const { return tokens[static_cast<size_t>(mesh->ep().rank())]; }
  // This rank's of the rows of all tokens, rank after rank.
  at::Tensor Mine(const at::Tensor& rows) const {
    int64_t begin = 0;
    for (int rank = 0; rank < mesh->ep().rank(); ++rank) begin += tokens[static_cast<size_t>(rank)];
    return Local(rows.narrow(0, begin, mine()));
  }

  std::vector<int64_t> tokens;  // by rank along ep
  LayerSpec layer_spec;
  ParameterSet all;  // of all ranks
  std::unique_ptr<DecoderLayer> layer;
};

// The layer's y as a plain sum over experts.
at::Tensor Plain(const MoeOnMesh& rig, const at::Tensor& x) {
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

// What a rank sends along ep: before a layer's output, rows that others' experts read and their
// shares, and how many there are; after it what came back of those that others sent; and the mirror
// images, with the input of experts that are trained once more. In float64.
struct Sent {
  Sent(const MoeOnMesh& rig, const MoeSaved& saved)
      : ranks(rig.mesh->ep().size()), experts(rig.config.moe.experts), h(rig.config.hidden_size) {
    const int64_t own = experts / ranks, rank = rig.mesh->ep().rank();
    const auto begin = [&](int64_t e) { return e == 0 ? 0 : saved.routes.ends[e - 1]; };
    const int64_t stay = begin((rank + 1) * own) - begin(rank * own);
    out = saved.routes.ends.back() - stay;
    in = saved.rows - stay;
  }
  int64_t Forward() const { return 8 * ((ranks - 1) * experts / ranks + out * (h + 1) + in * h); }
  int64_t Backward() const { return 8 * (out * 2 * h + in * (h + 1)); }

  int64_t ranks, experts, h, out, in;
};

void ExpectAutograd(const Routing& routing, Recompute recompute, int ep) {
  MoeOnMesh rig(routing, recompute, ep);
  int64_t tokens = 0;
  for (const int64_t each : rig.tokens) tokens += each;
  const std::vector<int64_t> shape = {tokens, rig.config.hidden_size};
  // Of other rows a product may round equal scores to unequal ones: there all ranks have the same.
  const bool ties = routing.rows.empty() && !routing.both_ways;
  const at::Tensor seeded =
      SeededTensor(ties ? std::vector<int64_t>{routing.tokens, shape[1]} : shape, "x");
  const at::Tensor drawn = routing.both_ways ? seeded.detach() : seeded.detach().abs();
  const at::Tensor x = drawn.repeat({ties ? ep : 1, 1}).set_requires_grad(true);
  const at::Tensor dy = SeededTensor(shape, "dy").detach();
  std::vector<at::Tensor> of_ranks;
  for (const at::Tensor& rows : x.split_with_sizes(rig.tokens))
    of_ranks.push_back(Plain(rig, rows));
  const at::Tensor want = at::cat(of_ranks);
  want.backward(dy);

  const c10::NoGradGuard no_grad;
  MicrobatchContext context;
  context.layout = MakeSequenceLayout({0, static_cast<int32_t>(rig.mine())}, at::kCPU);
  DecoderLayerSaved saved;
  const auto sent = [&] { return rig.mesh->ep().traffic().wire_bytes; };
  int64_t before = sent();
  const at::Tensor y = rig.layer->Forward(rig.Mine(x), context, {}, &saved);
  const int64_t forward = sent() - before;
  EXPECT_LE(RelativeError(y, rig.Mine(want)), 1e-10);
  int64_t backward = -1;
  if (recompute == Recompute::kNone) {
    const auto& kept = static_cast<MoeSaved&>(*saved.blocks.front());
    std::vector<int64_t> rows = kept.routes.ends;
    for (size_t e = rows.size(); e-- > 1;) rows[e] -= rows[e - 1];
    if (!routing.rows.empty() && rig.mesh->ep().rank() == 0) {
      EXPECT_EQ(rows, routing.rows);
    }
    if (ep > 1) {
      const Sent form(rig, kept);
      EXPECT_EQ(forward, form.Forward());
      backward = form.Backward();
    }
  }
  rig.optimizer->ZeroGradients();
  before = sent();
  const at::Tensor dx = rig.layer->Backward(rig.Mine(dy), context, {}, saved, /*need_dx=*/true);
  if (backward >= 0) {
    EXPECT_EQ(sent() - before, backward);
  }
  rig.optimizer->SyncGradients();
  EXPECT_LE(RelativeError(dx, rig.Mine(x.grad())), 1e-10);
  int64_t numel = 0, numel_of_all = 0;
  for (const Parameter* parameter : rig.set.Trainable()) {
    const at::Tensor whole = rig.params.at(parameter->slice.name).grad();
    const at::Tensor mine = parameter->slice.PartOf(whole);
    const double size = std::max(mine.abs().max().item<double>(), 1e-3);
    EXPECT_LE((parameter->grad - mine).abs().max().item<double>(), 1e-10 * size)
        << parameter->slice.name;
    const bool of_expert = parameter->placement.ep == AxisGradient::kOwned;
    numel += of_expert ? parameter->slice.LocalNumel() : 0;
  }
  for (const Parameter* parameter : rig.all.Trainable()) {
    const bool of_expert = parameter->placement.ep == AxisGradient::kOwned;
    numel_of_all += of_expert ? parameter->slice.GlobalNumel() : 0;
  }
  EXPECT_EQ(numel * TestProcess().world_size(), numel_of_all);
}

TEST_P(MoeRouting, ValuesAndGradientsEqualAutogradInFloat64) {
  const Routing& routing = GetParam();
  const int world = TestProcess().world_size();
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
    for (int ep = 1; ep <= world; ++ep) {
      const int64_t experts = static_cast<int64_t>(routing.scores.size());
      if (world % ep != 0 || experts % ep != 0) continue;
      SCOPED_TRACE("experts over " + std::to_string(ep) + " ranks");
      ExpectAutograd(routing, recompute, ep);
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
        // Batches of several experts.
        Routing{"ExpertsWithHalfTheTokens", {5, 1, 2, -3, -1, 3, -2, -6}, 3, true, 12, {}, true},
        Routing{"OneToken", {1, 2, 0}, 2, true, 1, {1, 1, 0}},
        Routing{"OneTokenOfFourExperts", {1, 2, 0, 3}, 1, false, 1, {0, 0, 0, 1}},
        Routing{"EveryOfFourExpertsHasEveryToken", {1, 2, 0, 3}, 4, true, 12, {12, 12, 12, 12}}),
    [](const auto& test) { return test.param.name; });

std::vector<std::vector<int64_t>> RowsOfBatches(const ExpertRows& rows) {
  std::vector<std::vector<int64_t>> all;
  int64_t next = 0;
  for (const ExpertRows::Batch& batch : rows.batches()) {
    EXPECT_EQ(batch.begin, next);
    all.emplace_back();
    for (const ExpertRows::Part& part : batch.parts) {
      EXPECT_EQ(part.begin, next);
      next += part.count;
      all.back().push_back(part.count);
    }
    EXPECT_EQ(next - batch.begin, batch.count);
  }
  EXPECT_EQ(next, rows.count());
  return all;
}

// A plan knows of one expert with all tokens: together they have no more rows than that.
TEST(Moe, ABatchHasNoMoreRowsThanOneExpertMayHave) {
  Routes routes;
  const std::vector<int64_t> rows = {3, 0, 4, 1, 0, 8, 2, 2, 2, 2, 0};
  int64_t places = 0;
  for (const int64_t each : rows) routes.ends.push_back(places += each);
  routes.experts = at::zeros({8, 3}, at::kLong);  // 8 tokens
  routes.order = at::arange(places);
  using Rows = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(RowsOfBatches(ExpertRows(routes, nullptr)), (Rows{{3, 4, 1}, {8}, {2, 2, 2, 2}}));
}

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
