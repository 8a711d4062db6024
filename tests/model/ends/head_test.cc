#include <gtest/gtest.h>

#include "model/ends/embedding_head.h"
#include "tests/model/rig.h"

namespace fttrain {
namespace {

constexpr int64_t kTokens = 12;

struct Form {
  bool tied, train_base, nf4;
};

// Embedding and head on all ranks of the job as one tp group.
struct EndsOnTp : PartOnMesh {
  EndsOnTp(int64_t vocabulary, const Form& form, bool sequence_parallel)
      : PartOnMesh(TestProcess().world_size()) {
    config.vocab_size = vocabulary;
    config.tie_word_embeddings = form.tied;
    options.train_base = form.train_base;
    if (form.nf4) options.nf4 = Nf4Options();
    options.embedding_on_host = form.nf4;
    options.sequence_parallel = sequence_parallel;
    const ModelSpec model = LlamaLike(config);
    Communicator& tp = mesh->tp();
    DeclareEmbedding(model, options, RankIn(tp), set);
    DeclareHead(model, options, RankIn(tp), set);
    embedding = std::make_unique<Embedding>(model, options, tp, set);
    head = std::make_unique<Head>(model, options, tp, set);
    FillDeclared();
  }
  at::Tensor Input() const { return Local(SeededTensor({kTokens, config.hidden_size}, "x")); }

  std::unique_ptr<Embedding> embedding;
  std::unique_ptr<Head> head;
};

at::Tensor Ids(int64_t vocab) { return at::arange(kTokens, at::kLong) * 17 % vocab; }
at::Tensor Rows() { return at::tensor(std::vector<int64_t>{0, 1, 3, 4, 8, 9, 11}, at::kLong); }
at::Tensor Targets(int64_t vocab) {
  return at::remainder(at::tensor(std::vector<int64_t>{36, 2, 19, 0, 7, 35, 12}, at::kLong), vocab);
}

// A loss whose derivative by each row's -log-probability is another: of both signs, and zero.
at::Tensor Coefficients() {
  return at::tensor(std::vector<double>{0.3, -0.2, 0.0, 1.0, 0.05, -0.7, 0.4}, at::kDouble);
}

// (vocabulary, form, sequence parallel). 5 rows on 4 ranks leave the last rank none.
class EndsOfTheModel : public ::testing::TestWithParam<std::tuple<int64_t, Form, bool>> {
 protected:
  // constant: of every row, known before the scores; else Coefficients(), known after.
  void ExpectScoresAndGradientsOfAutograd(std::optional<double> constant);
};

void EndsOfTheModel::ExpectScoresAndGradientsOfAutograd(std::optional<double> constant) {
  const auto& [vocab, form, sequence_parallel] = GetParam();
  EndsOnTp rig(vocab, form, sequence_parallel);
  const OracleModel oracle = rig.Oracle();
  const at::Tensor embedded = OracleEmbedding(oracle, Ids(vocab));
  // Depends on position too, as a layer between the ends would make it.
  const at::Tensor shift = SeededTensor({kTokens, rig.config.hidden_size}, "shift");
  const at::Tensor want = OracleScores(oracle, embedded + shift, Rows(), Targets(vocab));
  const at::Tensor logits = OracleLogits(oracle, embedded + shift).index_select(0, Rows());
  (-want * (constant ? at::full_like(want, *constant) : Coefficients())).sum().backward();

  const c10::NoGradGuard no_grad;
  at::Tensor x = rig.embedding->Forward(Ids(vocab), {});
  EXPECT_LE(RelativeError(x, rig.Local(embedded)), 1e-12);
  x = x + rig.Local(shift);
  const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
  for (const bool held : {false, true}) {
    if (held) rig.head->HoldWeights(true);
    rig.optimizer->ZeroGradients();
    Head::Saved saved;
    const Scores scores = rig.head->Forward(x, Rows(), Targets(vocab), constant, &saved);
    EXPECT_LE(RelativeError(scores.log_probability, want), 1e-10);
    EXPECT_LE(RelativeError(scores.sum, want.sum()), 1e-10);
    const Scores evaluated = rig.head->Forward(x, Rows(), Targets(vocab), constant, nullptr);
    EXPECT_TRUE(at::equal(evaluated.log_probability, scores.log_probability));
    EXPECT_LE(RelativeError(rig.head->Logits(x, Rows()), logits), 1e-12) << "on every rank";
    const at::Tensor dx = rig.head->Backward(constant ? at::Tensor() : Coefficients(), saved);
    EXPECT_LE(RelativeError(dx, rig.Local(shift.grad())), 1e-10);
    rig.embedding->Backward(dx, Ids(vocab));
  }
  rig.head->HoldWeights(false);
  EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, before);
  rig.optimizer->SyncGradients();
  EXPECT_EQ(rig.set.Trainable().size(), form.train_base ? (form.tied ? 2u : 3u) : 0u);
  for (const Parameter* parameter : rig.set.Trainable()) {
    const ParamSlice& slice = parameter->slice;
    const at::Tensor expected = slice.PartOf(rig.params.at(slice.name).grad());
    EXPECT_LE(RelativeError(parameter->grad, expected), 1e-10) << slice.name;
  }
  if (!form.nf4) return;
  const Parameter& weight = *rig.set.Find("lm_head.weight");
  EXPECT_EQ(weight.packed_bytes > 0, weight.slice.LocalNumel() > 0);
  EXPECT_TRUE(rig.set.Find("model.embed_tokens.weight")->on_host);
}

TEST_P(EndsOfTheModel, OnePassEqualsAutogradInFloat64) {
  ExpectScoresAndGradientsOfAutograd(1.0 / 40.0);
}

TEST_P(EndsOfTheModel, ACoefficientForEachRowEqualsAutogradInFloat64) {
  ExpectScoresAndGradientsOfAutograd(std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    Options, EndsOfTheModel,
    ::testing::Combine(::testing::Values(37, 40, 5),
                       ::testing::Values(Form{false, false, false}, Form{true, false, false},
                                         Form{false, true, false}, Form{true, true, false},
                                         Form{false, false, /*nf4=*/true}),
                       ::testing::Bool()));

constexpr Form kTrained{.tied = false, .train_base = true, .nf4 = false};

TEST(Head, AMicrobatchWithoutTargetsHasNoLossAndNoGradient) {
  EndsOnTp rig(37, kTrained, /*sequence_parallel=*/true);
  const c10::NoGradGuard no_grad;
  const at::Tensor none = at::empty({0}, at::kLong);
  const at::Tensor x = rig.Input();
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
  EndsOnTp rig(37, kTrained, /*sequence_parallel=*/true);
  const c10::NoGradGuard no_grad;
  const at::Tensor x = rig.Input();
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
  EndsOnTp rig(kVocab, Form{}, /*sequence_parallel=*/true);
  const c10::NoGradGuard no_grad;
  const at::Tensor x = rig.Input();
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
