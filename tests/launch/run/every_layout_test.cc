// Two optimizer steps in every layout on this many ranks: gradients, loss and updated parameters
// equal one rank's to 1e-10, in float64. Of the layout matrix the subset that has every three
// values together; all of it with FTTRAIN_WHOLE_MATRIX set.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <chrono>
#include <cstdlib>

#include "runtime/process/log.h"
#include "tests/launch/run/planned_layout.h"
#include "tests/launch/run/training_rig.h"

namespace fttrain {
namespace {

constexpr int kTrainedSteps = 2;
constexpr double kTolerance = 1e-10;

struct Trained {
  std::vector<WholeTensors> gradients;  // of each step
  std::vector<double> losses, norms;
  WholeTensors parameters;  // after the last
};

double SumOverStagesAndReplicas(double value, const Mesh& mesh) {
  at::Tensor sum = at::full({1}, value, at::kDouble);
  mesh.pp().AllReduce(sum);
  mesh.dp().AllReduce(sum);
  return sum.item<double>();
}

Trained TrainTwoSteps(const Mesh& mesh, const Layout& layout, const Task& task) {
  TrainingRig rig(mesh, layout, task);
  Trained trained;
  for (int step = 0; step < kTrainedSteps; ++step) {
    RunStep(rig, step);
    trained.gradients.push_back(WholeGradients(rig));
    trained.losses.push_back(SumOverStagesAndReplicas(rig.model.LossSum(), mesh));
    trained.norms.push_back(rig.optimizer->GradientNorm());
    rig.optimizer->Step(step, /*learning_rate=*/1e-2, ClipCoefficient(trained.norms.back(), 1.0));
  }
  trained.parameters = WholeParameters(rig);
  return trained;
}

double RelativeDifference(double got, double want) { return std::abs(got - want) / std::abs(want); }

// Of the largest element; infinite where a tensor is all zeros and where names or shapes differ.
void ExpectTensorsNear(const WholeTensors& got, const WholeTensors& want, const std::string& what) {
  double most = 0;
  std::string where;
  for (const auto& [name, tensor] : got) {
    const auto found = want.find(name);
    double difference = std::numeric_limits<double>::infinity();
    if (found != want.end() && found->second.sizes() == tensor.sizes()) {
      const double size = found->second.abs().max().item<double>();
      difference = (tensor - found->second).abs().max().item<double>() / size;
    }
    if (difference <= most) continue;  // a NaN is not
    most = difference;
    where = name;
    if (std::isnan(most)) break;
  }
  EXPECT_LE(most, kTolerance) << what << " of " << where;
}

void ExpectEqual(const Trained& got, const Trained& want, const Mesh& mesh) {
  for (int step = 0; step < kTrainedSteps; ++step) {
    const std::string number = "step " + std::to_string(step + 1);
    EXPECT_LE(RelativeDifference(got.losses[step], want.losses[step]), kTolerance) << number;
    EXPECT_LE(RelativeDifference(got.norms[step], want.norms[step]), kTolerance) << number;
    ExpectTensorsNear(got.gradients[step], want.gradients[step], number + ", gradient");
  }
  ExpectTensorsNear(got.parameters, want.parameters, "value");
  EXPECT_EQ(NamesOverStages(got.gradients[0], want.gradients[0], mesh).size(),
            want.gradients[0].size());
  EXPECT_EQ(got.parameters.size(), got.gradients[0].size());
}

// One rank's steps, once for each task.
class OneRank {
 public:
  const Trained& Train(const Task& task) {
    const auto key = std::tuple(task.full, task.nf4, task.layers);
    const auto [at, fresh] = trained_.try_emplace(key);
    if (fresh) at->second = TrainTwoSteps(*mesh_, {.zero_stage = 0}, task);
    return at->second;
  }

 private:
  const std::unique_ptr<Mesh> mesh_ = Mesh::Single();
  std::map<std::tuple<bool, bool, int>, Trained> trained_;
};

bool IsWhole() { return std::getenv("FTTRAIN_WHOLE_MATRIX") != nullptr; }

// What of the matrix is trained on these ranks.
std::vector<Combination> Selected() {
  std::vector<Combination> selected = WorkingCombinations();
  if (!IsWhole()) selected = CoveringSubset(selected, kCoveredTogether);
  std::erase_if(selected,
                [](const Combination& c) { return c.Ranks() != TestProcess().world_size(); });
  return selected;
}

// A rank that throws leaves the others waiting for it: the job ends, and says where.
Trained TrainOrAbort(const Combination& combination, const PlannedLayout& plan, const Mesh& mesh) {
  try {
    return TrainTwoSteps(mesh, plan.layout, plan.task);
  } catch (const std::exception& error) {
    LogError(ToString(combination) + ": " + error.what());
    TestProcess().AbortJob(1);
  }
}

TEST(EveryLayout, TrainsTwoStepsAsOneRankDoes) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Combination> selected = Selected();
  ASSERT_FALSE(selected.empty());
  OneRank one_rank;
  std::unique_ptr<Mesh> mesh;
  for (size_t i = 0; i < selected.size(); ++i) {
    const Combination& combination = selected[i];
    SCOPED_TRACE(ToString(combination));
    if (IsWhole() && i % 100 == 0) {
      LogInfo(std::to_string(i) + " of " + std::to_string(selected.size()) +
              " layouts; next: " + ToString(combination));
    }
    const auto plan = Plan(combination);
    ASSERT_TRUE(plan.ok()) << plan.status();  // on every rank alike
    const MeshShape& shape = plan->mesh;
    if (mesh == nullptr || mesh->shape().tp != shape.tp || mesh->shape().pp != shape.pp) {
      mesh = CreateMesh(shape);
    }
    ExpectEqual(TrainOrAbort(combination, *plan, *mesh), one_rank.Train(plan->task), *mesh);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  LogInfo(std::to_string(selected.size()) + " layouts on " +
          std::to_string(TestProcess().world_size()) + " ranks in " +
          std::to_string(seconds.count()) + " s");
}

}  // namespace
}  // namespace fttrain
