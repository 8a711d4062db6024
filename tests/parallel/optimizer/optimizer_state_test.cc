// The walk over the optimizer's state: it is all of it, and a run that goes on from it is the run.
#include <ATen/ATen.h>

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "tests/parallel/optimizer/optimizer_fixture.h"

namespace fttrain {
namespace {

using namespace optimizer_test;  // NOLINT: the fixture's vocabulary

// Parameters of more and of fewer than 4096 elements, sliced and whole, and one without elements.
std::vector<GlobalParam> LargeAndSmall() {
  return {{"large.rows", {64, 96}, AxisGradient::kOwned, true, 0, 64},
          {"large.odd", {4099}, AxisGradient::kIdentical, false},
          {"small.factor", {3, 8}, AxisGradient::kPartial, true},
          {"small.head", {4, 5}, AxisGradient::kShared, true, 0, 2}};
}

struct Case {
  Storage storage;
  MomentStorage moments;
  at::ScalarType dtype;
};

class StateWalk : public ::testing::TestWithParam<Case> {
 protected:
  StateWalk() : parameters_(DeclareModel(set_, *mesh_, GetParam().dtype, LargeAndSmall())) {}

  Rig MakeRig(ParameterSet& set) const {
    return Rig(set, *mesh_,
               {.zero_stage = GetParam().storage.zero_stage, .moments = GetParam().moments},
               {.weight_decay = 0.1, .state_place = GetParam().storage.place});
  }
  bool IsInt8(const ParamSlice& slice) const {
    return GetParam().moments == MomentStorage::kInt8 && slice.GlobalNumel() >= 4096;
  }
  std::set<StateKind> KindsOf(const ParamSlice& slice) const {
    if (!IsInt8(slice)) return {StateKind::kMaster, StateKind::kExpAvg, StateKind::kExpAvgSq};
    return {StateKind::kMaster, StateKind::kExpAvgCodes, StateKind::kExpAvgSqCodes,
            StateKind::kExpAvgAbsmax, StateKind::kExpAvgSqAbsmax};
  }
  void TakeStep(Rig& rig, const std::vector<Parameter*>& parameters, int step) const {
    Backward(rig, parameters, *mesh_, step, LargeAndSmall());
    rig.optimizer.SyncGradients();
    rig.optimizer.Step(step, 1e-2, 0.5);
  }

  const std::unique_ptr<Mesh> mesh_ = TestMesh(/*tp=*/1);
  ParameterSet set_;
  const std::vector<Parameter*> parameters_;
};

TEST_P(StateWalk, VisitsEveryElementOfEverySliceOnceAKindOverTheDpRanks) {
  Rig rig = MakeRig(set_);
  std::map<std::pair<std::string, StateKind>, at::Tensor> visits;
  for (const Parameter* p : parameters_) {
    for (const StateKind kind : KindsOf(p->slice)) {
      visits[{p->slice.name, kind}] = at::zeros({p->slice.LocalNumel()}, at::kLong);
    }
  }
  const auto visit = [&](const StatePiece& piece) {
    const auto found = visits.find({piece.slice.name, piece.kind});
    if (found == visits.end()) return absl::InternalError(piece.slice.name);
    found->second.narrow(0, piece.of_slice.begin, piece.of_slice.size()).add_(1);
    const bool blocks =
        piece.kind == StateKind::kExpAvgAbsmax || piece.kind == StateKind::kExpAvgSqAbsmax;
    EXPECT_EQ(piece.values.numel(),
              (piece.of_slice.size() + (blocks ? 255 : 0)) / (blocks ? 256 : 1));
    return absl::OkStatus();
  };
  const absl::Status status = rig.optimizer.VisitState(visit);
  EXPECT_TRUE(status.ok()) << status;
  const int64_t times = GetParam().storage.zero_stage == 0 ? mesh_->dp().size() : 1;
  for (const auto& [what, counts] : visits) {
    mesh_->dp().AllReduce(counts);
    EXPECT_TRUE(counts.eq(times).all().item<bool>())
        << what.first << ", kind " << static_cast<int>(what.second);
  }
}

TEST_P(StateWalk, CopiedIntoAFreshOptimizerMakesItsNextStepTheOneOfTheFirst) {
  constexpr int kStop = 3;
  Rig first = MakeRig(set_);
  FillInitialValues(first, LargeAndSmall());
  for (int step = 0; step < kStop; ++step) TakeStep(first, parameters_, step);

  ParameterSet fresh_set;
  const auto fresh_parameters = DeclareModel(fresh_set, *mesh_, GetParam().dtype, LargeAndSmall());
  Rig fresh = MakeRig(fresh_set);
  std::map<std::tuple<std::string, StateKind, int64_t>, at::Tensor> state;
  const absl::Status saved = first.optimizer.VisitState([&](const StatePiece& piece) {
    state[{piece.slice.name, piece.kind, piece.of_slice.begin}] = piece.values.clone();
    return absl::OkStatus();
  });
  ASSERT_TRUE(saved.ok()) << saved;
  const absl::Status loaded = fresh.optimizer.VisitState([&](const StatePiece& piece) {
    piece.values.copy_(state.at({piece.slice.name, piece.kind, piece.of_slice.begin}));
    return absl::OkStatus();
  });
  ASSERT_TRUE(loaded.ok()) << loaded;
  fresh.optimizer.ParametersFromMasters();

  TakeStep(first, parameters_, kStop);
  TakeStep(fresh, fresh_parameters, kStop);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    EXPECT_TRUE(at::equal(ValueOf(first, *parameters_[i]), ValueOf(fresh, *fresh_parameters[i])))
        << parameters_[i]->slice.name;
  }
}

TEST_P(StateWalk, EndsAtTheFirstError) {
  Rig rig = MakeRig(set_);
  int visits = 0;
  const absl::Status status = rig.optimizer.VisitState([&](const StatePiece&) {
    ++visits;
    return absl::DataLossError("torn");
  });
  // A dp rank may own padding alone.
  EXPECT_LE(visits, 1);
  EXPECT_EQ(status.ok(), visits == 0);
}

std::vector<Case> EveryCase() {
  std::vector<Case> cases;
  for (const MomentStorage moments : {MomentStorage::kGradientDtype, MomentStorage::kInt8}) {
    for (const int zero_stage : {0, 1, 2, 3}) {
      cases.push_back({{zero_stage}, moments, at::kBFloat16});
    }
    cases.push_back({{1}, moments, at::kFloat});
    cases.push_back({{1, StatePlace::kHost}, moments, at::kFloat});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Storages, StateWalk, ::testing::ValuesIn(EveryCase()));

}  // namespace
}  // namespace fttrain
