// An objective whose coefficients depend on all scores of a microbatch and on those of a reference
// model, over a pipeline: what training on preferences asks of head, objective and schedules.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/storage/gradient_reader.h"
#include "parallel/storage/param_gather.h"
#include "runtime/math/philox.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/model/oracle.h"

namespace fttrain {
namespace {

constexpr int kLayers = 4;
constexpr int kMicrobatches = 4;
constexpr double kBeta = 0.3;

// Documents 2i and 2i + 1 of a microbatch answer one question, the first of them better. The loss
// of a pair is -log sigmoid(beta * (log p / p_reference of the first - the same of the second))
// (direct preference optimisation, arXiv:2305.18290).
class PreferenceLoss : public Objective {
 public:
  // A microbatch's document of each target row, int64 [M], and its log-probability in the
  // reference.
  struct Rows {
    at::Tensor document, reference;
  };
  PreferenceLoss(double scale, std::vector<Rows> rows) : scale_(scale), rows_(std::move(rows)) {}

  Losses Evaluate(int microbatch, const Scores& scores) const override {
    const Rows& rows = rows_.at(static_cast<size_t>(microbatch));
    const at::Tensor& each = scores.log_probability;
    const int64_t documents = rows.document[-1].item<int64_t>() + 1;
    const at::Tensor ratios = at::zeros({documents}, each.options())
                                  .index_add(0, rows.document, each - rows.reference)
                                  .view({documents / 2, 2});
    const at::Tensor margin = kBeta * (ratios.select(1, 0) - ratios.select(1, 1));
    const at::Tensor slope = scale_ * kBeta * at::sigmoid(-margin);
    return {-at::log_sigmoid(margin).sum(at::kDouble),
            at::stack({slope, -slope}, 1).flatten().index_select(0, rows.document)};
  }

 private:
  double scale_;
  std::vector<Rows> rows_;
};

// Minimises nothing: remembers the scores.
class Remember : public Objective {
 public:
  explicit Remember(std::vector<PreferenceLoss::Rows>* rows) : rows_(rows) {}
  Losses Evaluate(int microbatch, const Scores& scores) const override {
    rows_->at(static_cast<size_t>(microbatch)).reference = scores.log_probability;
    return {at::zeros({}, at::kDouble), {}};
  }

 private:
  std::vector<PreferenceLoss::Rows>* rows_;
};

// Two pairs; the first third of every document is the question.
ModelBatch Pairs(int microbatch, int64_t multiple) {
  std::vector<int32_t> ids, targets, bounds{0};
  std::vector<int64_t> index;
  for (int document = 0; document < 4; ++document) {
    const int length = 4 + (document + microbatch) % 4;
    for (int i = 0; i < length; ++i) {
      ids.push_back((microbatch * 31 + document / 2 * 5 + document % 2 * i + i * 7) % 37);
      targets.push_back(3 * i >= length ? (ids.back() * 3 + document) % 37 : -100);
      index.push_back(microbatch * 64 + bounds.back() + i);
    }
    bounds.push_back(bounds.back() + length);
  }
  return MakeModelBatch(ids, targets, bounds, index, StepKey(5, 2), multiple, at::kCPU);
}

at::Tensor DocumentsOf(const ModelBatch& batch) {
  const std::vector<int32_t>& bounds = batch.context.layout.cu_seqlens;
  const std::vector<int64_t> inner(bounds.begin() + 1, bounds.end());
  return at::searchsorted(at::tensor(inner, at::kLong), batch.target_rows, false, /*right=*/true);
}

// The loss from its definition, of every pair in turn; adds to the gradients of the model's
// tensors.
double LossByAutograd(const OracleModel& model, double scale) {
  OracleModel base = model;
  std::erase_if(base.params,
                [](const auto& each) { return each.first.find(".lora_") != std::string::npos; });
  const auto scores = [](const OracleModel& of, const ModelBatch& batch) {
    return OracleScores(of, OracleLayers(of, batch), batch.target_rows, batch.targets);
  };
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (int i = 0; i < kMicrobatches; ++i) {
    const ModelBatch batch = Pairs(i, 1);
    ModelBatch plain = batch;
    plain.context.dropout = {};
    const at::Tensor ratios = scores(model, batch) - scores(base, plain).detach();
    const at::Tensor document = DocumentsOf(batch);
    const auto ratio = [&](int64_t d) { return ratios.masked_select(document.eq(d)).sum(); };
    for (const int64_t d : {0, 2}) {
      loss = loss - at::log_sigmoid(kBeta * (ratio(d) - ratio(d + 1)));
    }
  }
  (loss * scale).backward();
  return loss.item<double>();
}

OracleModel PlainModel(const Task& task) {
  const auto job = BuildTiny(task, Layout{});
  OracleModel model{TinyShape(/*tied=*/false, kLayers), ModelOptionsOf(task, Layout{}), {}};
  for (const auto& p : job->network->parameters.all()) {
    model.params[p->slice.name] = p->value.detach().clone().requires_grad_(true);
  }
  return model;
}

TEST(Preference, GradientsOverAPipelineEqualAutogradInFloat64) {
  const double scale = 1.0 / (2 * kMicrobatches);
  Task task = TinyTask({.layers = kLayers});
  task.rows_per_step = kMicrobatches;
  const OracleModel plain = PlainModel(task);
  const double want = LossByAutograd(plain, scale);
  const int world = TestProcess().world_size(), tp = std::min(2, world / 2);
  for (const int chunks : {1, 2}) {
    const auto kind =
        chunks == 1 ? PipelineKind::kOneForwardOneBackward : PipelineKind::kInterleaved;
    const auto job = BuildTiny(
        task, {.mesh = {tp, 2, world / 2 / tp},
               .sequence_parallel = true,
               .schedule = kind,
               .layers_per_run = std::vector<int>(static_cast<size_t>(2 * chunks), 2 / chunks)});
    Network& network = *job->network;
    const Mesh& mesh = *network.mesh;
    Transformer& model = *network.transformer;
    std::vector<ModelBatch> batches, reference;
    std::vector<PreferenceLoss::Rows> rows;
    for (int i = mesh.position().dp; i < kMicrobatches; i += mesh.shape().dp) {
      batches.push_back(Pairs(i, tp));
      rows.push_back({DocumentsOf(batches.back()), {}});
      reference.push_back(batches.back());
      reference.back().context.adapters = false;
    }
    const int count = static_cast<int>(batches.size());
    model.BeginStep(std::move(reference), std::make_unique<Remember>(&rows));
    RunSchedule(PipelineSchedule(2, ForwardsOnly(2, chunks, count)), model, *network.links);
    model.BeginStep(std::move(batches), std::make_unique<PreferenceLoss>(scale, rows));
    job->optimizer->ZeroGradients();
    RunSchedule(Trainer(*job).Schedule(), model, *network.links);
    job->optimizer->SyncGradients();

    const at::Tensor loss = model.LossSum();
    mesh.pp().AllReduce(loss);
    mesh.dp().AllReduce(loss);
    EXPECT_NEAR(loss.item<double>(), want, 1e-10 * want);
    GradientReader reader(*network.store);
    const std::vector<Parameter*> trained = network.parameters.Trainable();
    EXPECT_EQ(trained.size(), 2u * 2 * 7);
    for (const Parameter* p : trained) {
      const at::Tensor got = GatherWhole(p->slice, reader.Read(*p), mesh.tp());
      EXPECT_LE(RelativeError(got, plain.params.at(p->slice.name).grad()), 1e-10) << p->slice.name;
    }
  }
}

}  // namespace
}  // namespace fttrain
