#include <gtest/gtest.h>

#include "model/ends/embedding_head.h"
#include "tests/model/rig.h"

namespace fttrain {
namespace {

constexpr int64_t kTokens = 12;

// Embedding and head on all ranks of the job as one tp group.
struct EndsOnTp {
  EndsOnTp(const LlamaShape& shape, bool train_base, bool sequence_parallel,
           std::optional<Nf4Options> nf4 = std::nullopt)
      : config(shape), mesh(TestMesh(TestProcess().world_size())) {
    options = Float64Options();
    options.train_base = train_base;
    options.nf4 = nf4;
    options.embedding_on_host = nf4.has_value();
    options.sequence_parallel = sequence_parallel;
    const ModelSpec model = LlamaLike(config);
    Communicator& tp = mesh->tp();
    DeclareEmbedding(model, options, RankIn(tp), set);
    DeclareHead(model, options, RankIn(tp), set);
    embedding = std::make_unique<Embedding>(model, options, tp, set);
    head = std::make_unique<Head>(model, options, tp, set);
    store = std::make_unique<ParameterStore>(set, *mesh, at::kCPU, StorageOptions{});
    optimizer = std::make_unique<Optimizer>(*store, AdamWOptions{});
    params = SeededTensors(set);
    if (nf4) QuantizeValues(set, *nf4, params);
    CopyValues(set, params);
    optimizer->ZeroGradients();
  }
  OracleModel Oracle() const { return {config, options, params}; }
  SequenceRegion Region() const { return {mesh->tp(), options.sequence_parallel}; }

  LlamaShape config;
  ModelOptions options;
  std::unique_ptr<Mesh> mesh;
  ParameterSet set;
  std::unique_ptr<Embedding> embedding;
  std::unique_ptr<Head> head;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<Optimizer> optimizer;
  NamedTensors params;
};

LlamaShape WithVocabulary(int64_t size, bool tied) {
  LlamaShape config = TinyConfig();
  config.vocab_size = size;
  config.tie_word_embeddings = tied;
  return config;
}

at::Tensor Ids(int64_t vocab) { return at::arange(kTokens, at::kLong) * 17 % vocab; }
at::Tensor Rows() { return at::tensor(std::vector<int64_t>{0, 1, 3, 4, 8, 9, 11}, at::kLong); }
at::Tensor Targets(int64_t vocab) {
  return at::remainder(at::tensor(std::vector<int64_t>{36, 2, 19, 0, 7, 35, 12}, at::kLong), vocab);
}

// Log-probabilities of the targets.
at::Tensor OracleScores(const OracleModel& oracle, const at::Tensor& x, int64_t vocab) {
  const at::Tensor all = at::log_softmax(OracleLogits(oracle, x).index_select(0, Rows()), -1);
  return all.gather(1, Targets(vocab).unsqueeze(1)).squeeze(1);
}
// A loss whose derivative by each row's -log-probability is another: of both signs, and zero.
at::Tensor Coefficients() {
  return at::tensor(std::vector<double>{0.3, -0.2, 0.0, 1.0, 0.05, -0.7, 0.4}, at::kDouble);
}

// (vocabulary, tied, trained, sequence parallel). 5 rows on 4 ranks leave the last rank none.
class EndsOfTheModel : public ::testing::TestWithParam<std::tuple<int64_t, bool, bool, bool>> {
 protected:
  // constant: of every row, known before the scores; else Coefficients(), known after.
  void ExpectScoresAndGradientsOfAutograd(std::optional<double> constant);
};

void EndsOfTheModel::ExpectScoresAndGradientsOfAutograd(std::optional<double> constant) {
  const auto [vocab, tied, train_base, sequence_parallel] = GetParam();
  EndsOnTp rig(WithVocabulary(vocab, tied), train_base, sequence_parallel);
  const OracleModel oracle = rig.Oracle();
  const at::Tensor embedded = OracleEmbedding(oracle, Ids(vocab));
  // Depends on position too, as a layer between the ends would make it.
  const at::Tensor shift = SeededTensor({kTokens, rig.config.hidden_size}, "shift");
  const at::Tensor want = OracleScores(oracle, embedded + shift, vocab);
  (-want * (constant ? at::full_like(want, *constant) : Coefficients())).sum().backward();

  const c10::NoGradGuard no_grad;
  const SequenceRegion region = rig.Region();
  at::Tensor x = rig.embedding->Forward(Ids(vocab));
  EXPECT_LE(RelativeError(x, region.LocalRows(embedded)), 1e-12);
  x = x + region.LocalRows(shift.detach());
  Head::Saved saved;
  const Scores scores = rig.head->Forward(x, Rows(), Targets(vocab), constant, &saved);
  EXPECT_LE(RelativeError(scores.log_probability, want), 1e-10);
  EXPECT_LE(RelativeError(scores.sum, want.sum()), 1e-10);
  const Scores evaluated = rig.head->Forward(x, Rows(), Targets(vocab), constant, nullptr);
  EXPECT_TRUE(at::equal(evaluated.log_probability, scores.log_probability));
  const at::Tensor dx = rig.head->Backward(constant ? at::Tensor() : Coefficients(), saved);
  EXPECT_LE(RelativeError(dx, region.LocalRows(shift.grad())), 1e-10);
  rig.embedding->Backward(dx, Ids(vocab));
  rig.optimizer->SyncGradients();
  EXPECT_EQ(rig.set.Trainable().size(), train_base ? (tied ? 2u : 3u) : 0u);
  for (const Parameter* parameter : rig.set.Trainable()) {
    const ParamSlice& slice = parameter->slice;
    const at::Tensor expected = LocalPart(rig.params.at(slice.name).grad(), slice);
    EXPECT_LE(RelativeError(parameter->grad, expected), 1e-10) << slice.name;
  }
}

TEST_P(EndsOfTheModel, OnePassEqualsAutogradInFloat64) {
  ExpectScoresAndGradientsOfAutograd(1.0 / 40.0);
}

TEST_P(EndsOfTheModel, ACoefficientForEachRowEqualsAutogradInFloat64) {
  ExpectScoresAndGradientsOfAutograd(std::nullopt);
}

TEST_P(EndsOfTheModel, LogitsOfTheWholeVocabularyAreOnEveryRank) {
  const auto [vocab, tied, train_base, sequence_parallel] = GetParam();
  EndsOnTp rig(WithVocabulary(vocab, tied), train_base, sequence_parallel);
  const c10::NoGradGuard no_grad;
  const at::Tensor x = SeededTensor({kTokens, rig.config.hidden_size}, "x").detach();
  const at::Tensor got = rig.head->Logits(rig.Region().LocalRows(x).clone(), Rows());
  EXPECT_LE(RelativeError(got, OracleLogits(rig.Oracle(), x).index_select(0, Rows())), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Options, EndsOfTheModel,
                         ::testing::Combine(::testing::Values(37, 40, 5), ::testing::Bool(),
                                            ::testing::Bool(), ::testing::Bool()));

// 5 rows on 4 ranks leave the last rank none.
class Nf4Head : public ::testing::TestWithParam<int64_t> {};

TEST_P(Nf4Head, ScoresInputGradientAndLogitsEqualAutogradOverTheDequantisedHead) {
  const int64_t vocab = GetParam();
  EndsOnTp rig(WithVocabulary(vocab, false), false, true, Nf4Options());
  const Parameter& weight = *rig.set.Find("lm_head.weight");
  EXPECT_EQ(weight.packed_bytes > 0, weight.slice.LocalNumel() > 0);
  EXPECT_TRUE(rig.set.Find("model.embed_tokens.weight")->on_host);
  const at::Tensor x = SeededTensor({kTokens, rig.config.hidden_size}, "x");
  const at::Tensor want = OracleScores(rig.Oracle(), x, vocab);
  (-want * 0.1).sum().backward();
  const c10::NoGradGuard no_grad;
  const SequenceRegion region = rig.Region();
  const at::Tensor local = region.LocalRows(x.detach()).clone();
  const at::Tensor logits = OracleLogits(rig.Oracle(), x).index_select(0, Rows());
  const auto expect_all = [&](std::optional<double> coefficient, const at::Tensor& coefficients) {
    const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
    {
      Head::Saved saved;
      const Scores scores = rig.head->Forward(local, Rows(), Targets(vocab), coefficient, &saved);
      EXPECT_LE(RelativeError(scores.log_probability, want), 1e-10);
      const at::Tensor dx = rig.head->Backward(coefficients, saved);
      EXPECT_LE(RelativeError(dx, region.LocalRows(x.grad())), 1e-10);
      EXPECT_LE(RelativeError(rig.head->Logits(local, Rows()), logits), 1e-10);
    }
    EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, before);
  };
  for (const bool held : {false, true}) {
    if (held) rig.head->HoldWeights(true);
    expect_all(0.1, {});
    expect_all(std::nullopt, at::full_like(want, 0.1));
  }
  rig.head->HoldWeights(false);
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, Nf4Head, ::testing::Values(37, 40, 5));

TEST(Head, AMicrobatchWithoutTargetsHasNoLossAndNoGradient) {
  EndsOnTp rig(WithVocabulary(37, false), /*train_base=*/true, /*sequence_parallel=*/true);
  const c10::NoGradGuard no_grad;
  const at::Tensor none = at::empty({0}, at::kLong);
  const at::Tensor x =
      rig.Region().LocalRows(SeededTensor({kTokens, rig.config.hidden_size}, "x").detach()).clone();
  Head::Saved saved;
  EXPECT_EQ(rig.head->Forward(x, none, none, 0.1, &saved).sum.item<double>(), 0.0);
  EXPECT_EQ(rig.head->Backward({}, saved).abs().max().item<double>(), 0.0);
  EXPECT_EQ(rig.head->Forward(x, none, none, std::nullopt, &saved).sum.item<double>(), 0.0);
  const at::Tensor dx = rig.head->Backward(at::empty({0}, at::kDouble), saved);
  EXPECT_EQ(dx.abs().max().item<double>(), 0.0);
  rig.optimizer->SyncGradients();
  for (const Parameter* parameter : rig.set.Trainable()) {
    EXPECT_EQ(parameter->grad.abs().max().item<double>(), 0.0) << parameter->slice.name;
  }
}

TEST(Head, TwoPassesHaveTheBitsOfOne) {
  EndsOnTp rig(WithVocabulary(37, false), /*train_base=*/true, /*sequence_parallel=*/true);
  const c10::NoGradGuard no_grad;
  const at::Tensor x =
      rig.Region().LocalRows(SeededTensor({kTokens, rig.config.hidden_size}, "x").detach()).clone();
  const at::Tensor& weight_gradient = rig.set.Find("lm_head.weight")->grad;
  const auto run = [&](std::optional<double> coefficient, const at::Tensor& coefficients) {
    rig.optimizer->ZeroGradients();
    Head::Saved saved;
    const Scores scores = rig.head->Forward(x, Rows(), Targets(37), coefficient, &saved);
    const at::Tensor dx = rig.head->Backward(coefficients, saved);
    return std::vector<at::Tensor>{scores.sum, dx, weight_gradient.clone()};
  };
  const auto one = run(0.1, {}), two = run(std::nullopt, at::full({7}, 0.1, at::kDouble));
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], two[i])) << i;
}

TEST(Head, LogitsOfOneChunkAreAliveHoweverManyTargetsThereAre) {
  constexpr int64_t kVocab = 4096;
  EndsOnTp rig(WithVocabulary(kVocab, false), /*train_base=*/false, /*sequence_parallel=*/true);
  const c10::NoGradGuard no_grad;
  const at::Tensor x =
      rig.Region().LocalRows(SeededTensor({kTokens, rig.config.hidden_size}, "x").detach()).clone();
  const auto peak_with_rows = [&](int64_t count) {
    const at::Tensor rows = at::arange(count, at::kLong);
    ResetMemoryPeaks();
    const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
    Head::Saved one_pass, two_passes;
    rig.head->Forward(x, rows, rows, 0.1, &one_pass);
    rig.head->Forward(x, rows, rows, std::nullopt, &two_passes);
    rig.head->Backward(at::full({count}, 0.1, at::kDouble), two_passes);
    return MemoryOf(MemoryCategory::kWorkspace).peak_bytes - before;
  };
  const int64_t row_bytes = kVocab / rig.mesh->tp().size() * static_cast<int64_t>(sizeof(double));
  const int64_t one_chunk = peak_with_rows(rig.options.loss_chunk_rows);
  EXPECT_GE(one_chunk, rig.options.loss_chunk_rows * row_bytes);
  EXPECT_LT(peak_with_rows(kTokens), one_chunk + row_bytes);
}

}  // namespace
}  // namespace fttrain
