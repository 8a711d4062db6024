#include "parallel/optimizer/optimizer.h"

#include <tuple>

#include "tests/parallel/optimizer/optimizer_fixture.h"

namespace fttrain {
namespace {

using namespace optimizer_test;  // NOLINT: the fixture's vocabulary

constexpr double kMaxNorm = 1.0;
const AdamWOptions kOptions{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
double RateOfStep(int step) { return 1e-2 / (1 + step); }

// AdamW on whole tensors: one rank, plain loops, state in T. Returns the values after each of
// `steps` steps.
template <typename T>
std::vector<at::Tensor> ReferenceRun(const GlobalParam& p, int steps, at::ScalarType dtype) {
  // The master starts from the value as stored.
  const at::Tensor master =
      InitialValue(p).to(dtype).to(c10::CppTypeToScalarType<T>::value).contiguous();
  T* x = master.data_ptr<T>();
  std::vector<T> m(static_cast<size_t>(master.numel())), v(m.size());
  std::vector<at::Tensor> values;
  for (int step = 0; step < steps; ++step) {
    const at::Tensor whole = SumOfUnits(p, step, 0, kUnits).to(master.scalar_type()).contiguous();
    const T* grad = whole.data_ptr<T>();
    const double rate = RateOfStep(step), t = step + 1;
    const T scale = static_cast<T>(ClipCoefficient(ReferenceNorm(step), kMaxNorm));
    const T keep = static_cast<T>(1 - rate * (p.weight_decay ? kOptions.weight_decay : 0.0));
    const T size = static_cast<T>(-rate / (1 - std::pow(kOptions.beta1, t)));
    const T correction = static_cast<T>(std::sqrt(1 - std::pow(kOptions.beta2, t)));
    for (size_t i = 0; i < m.size(); ++i) {
      const T g = grad[i] * scale;
      m[i] += static_cast<T>(1 - kOptions.beta1) * (g - m[i]);
      v[i] = v[i] * static_cast<T>(kOptions.beta2) + static_cast<T>(1 - kOptions.beta2) * g * g;
      const T denominator = std::sqrt(v[i]) / correction + static_cast<T>(kOptions.eps);
      x[i] = x[i] * keep + size * m[i] / denominator;
    }
    values.push_back(master.to(dtype, /*non_blocking=*/false, /*copy=*/true));
  }
  return values;
}

std::vector<at::Tensor> Reference(const GlobalParam& p, int steps, at::ScalarType dtype) {
  return dtype == at::kDouble ? ReferenceRun<double>(p, steps, dtype)
                              : ReferenceRun<float>(p, steps, dtype);
}

// Each test runs every (tp, dp) of this world.
class OptimizerOn : public ::testing::TestWithParam<Storage> {
 protected:
  void ExpectEqualsOneRank(at::ScalarType dtype, double tolerance) {
    for (const int tp : TpSizes()) {
      SCOPED_TRACE("tp " + std::to_string(tp));
      ExpectLayoutEqualsOneRank(tp, dtype, tolerance);
    }
  }

 private:
  // Five steps on this layout; every value after every step is compared with one rank's.
  void ExpectLayoutEqualsOneRank(int tp, at::ScalarType dtype, double tolerance) {
    const auto mesh = TestMesh(tp);
    AdamWOptions options = kOptions;
    options.state_place = GetParam().place;
    ParameterSet set;
    const std::vector<Parameter*> parameters = DeclareModel(set, *mesh, dtype);
    Rig rig(set, *mesh, {.zero_stage = GetParam().zero_stage}, options);
    const std::vector<GlobalParam> model = Model();
    std::vector<std::vector<at::Tensor>> want;
    for (size_t i = 0; i < model.size(); ++i) {
      want.push_back(Reference(model[i], 5, dtype));
    }
    FillInitialValues(rig, model);
    for (int step = 0; step < 5; ++step) {
      Backward(rig, parameters, *mesh, step);
      rig.optimizer.SyncGradients();
      const double norm = rig.optimizer.GradientNorm();
      EXPECT_NEAR(norm, ReferenceNorm(step), 1e-12) << "step " << step;
      rig.optimizer.Step(step, RateOfStep(step), ClipCoefficient(norm, kMaxNorm));
      for (size_t i = 0; i < model.size(); ++i) {
        const at::Tensor expected = parameters[i]->slice.PartOf(want[i][static_cast<size_t>(step)]);
        const at::Tensor difference =
            (ValueOf(rig, *parameters[i]).to(at::kDouble) - expected.to(at::kDouble)).abs();
        EXPECT_LE(difference.max().item<double>(), tolerance) << model[i].name << ", step " << step;
      }
    }
  }
};

TEST_P(OptimizerOn, Float64EqualsOneRank) { ExpectEqualsOneRank(at::kDouble, 1e-12); }

TEST_P(OptimizerOn, Float32EqualsOneRank) { ExpectEqualsOneRank(at::kFloat, 1e-6); }

// bfloat16 steps are coarse: without float32 masters, or with another rounding, values would
// differ.
TEST_P(OptimizerOn, Bfloat16WithMastersEqualsOneRankBitwise) {
  ExpectEqualsOneRank(at::kBFloat16, 0.0);
}

// Ranks along ep divide the experts and those along dp have the same ones: an expert's gradients
// are summed, and its state is sharded, over the latter alone, beside what all ranks have. Where
// there is one of these, an expert is one rank's alone. The norm counts each expert once.
TEST_P(OptimizerOn, AnExpertsGradientsAreSummedOverThoseWhoHaveIt) {
  const int world = TestProcess().world_size(), rank = TestProcess().rank();
  for (int ep = 1; ep <= world; ++ep) {
    if (world % ep != 0) continue;
    const auto mesh = TestMesh(/*tp=*/1, /*pp=*/1, ep);
    const int mine = mesh->ep().rank();
    const auto train = [&](const Mesh& on, const StorageOptions& storage, double dense_gradient,
                           double gradient) {
      ParameterSet set;
      const Parameter* dense = set.Declare({.slice = WholeParam("dense", {7}), .trainable = true});
      const Parameter* expert =
          set.Declare({.slice = WholeParam("experts." + std::to_string(mine), {35}),
                       .placement = {.ep = AxisGradient::kOwned},
                       .trainable = true});
      Rig rig(set, on, storage, {.state_place = GetParam().place});
      {
        const ParameterStore::Lease lease = rig.store.Acquire(0);
        rig.store.BeginGradients(0);
        dense->grad.fill_(dense_gradient);
        expert->grad.fill_(gradient);
        rig.store.EndGradients(0);
      }
      rig.optimizer.SyncGradients();
      const double norm = rig.optimizer.GradientNorm();
      rig.optimizer.Step(0, 1e-2, 1.0);
      return std::tuple(ValueOf(rig, *dense), ValueOf(rig, *expert), norm);
    };
    // Of expert e the copies' gradients sum to 2^e, which is exact in any order.
    const double of_expert = std::exp2(mine);
    const auto [dense, expert, norm] = train(*mesh, {.zero_stage = GetParam().zero_stage},
                                             rank == 0 ? 0.25 : 0.0, of_expert * ep / world);
    const auto [want_dense, want_expert, alone] = train(*Mesh::Single(), {}, 0.25, of_expert);
    EXPECT_TRUE(at::equal(dense, want_dense)) << ep;
    EXPECT_TRUE(at::equal(expert, want_expert)) << ep;
    double squares = 7 * 0.25 * 0.25;
    for (int e = 0; e < ep; ++e) squares += 35.0 * std::exp2(2 * e);
    EXPECT_NEAR(norm, std::sqrt(squares), 1e-12) << ep;
  }
}

INSTANTIATE_TEST_SUITE_P(Storages, OptimizerOn, EveryStorage(), NameOf);

// Pipeline stages hold different parameters; the norm is that of all of them.
TEST(OptimizerOnPipeline, NormCountsEveryStageOnce) {
  const auto mesh = TestMesh(/*tp=*/1, TestProcess().world_size());
  const int stage = mesh->pp().rank(), stages = mesh->pp().size();
  ParameterSet set;
  const Parameter* weight = set.Declare(
      {.slice = WholeParam("layers." + std::to_string(stage) + ".weight", {3}), .trainable = true});
  Rig rig(set, *mesh);
  weight->grad.fill_(stage + 1);
  rig.optimizer.SyncGradients();
  double want = 0.0;
  for (int s = 0; s < stages; ++s) want += 3.0 * (s + 1) * (s + 1);
  EXPECT_NEAR(rig.optimizer.GradientNorm(), std::sqrt(want), 1e-12);
}

}  // namespace
}  // namespace fttrain
