// A small model of every gradient relation, spread over any (tp, dp), and its update on one rank in
// plain loops.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "parallel/layout/mesh.h"
#include "parallel/layout/param.h"
#include "parallel/optimizer/optimizer.h"
#include "tests/test_mesh.h"

namespace fttrain::optimizer_test {

// A parameter of the whole model. `slices`: into how many parts tp may cut it along dim (kShared:
// kv heads).
struct GlobalParam {
  std::string name;
  std::vector<int64_t> shape;
  AxisGradient relation;
  bool weight_decay;
  int dim = -1;
  int slices = 1;
};

inline std::vector<GlobalParam> Model() {
  return {{"owned.rows", {64, 33}, AxisGradient::kOwned, true, 0, 64},
          {"shared.two_heads", {4, 5}, AxisGradient::kShared, true, 0, 2},
          {"partial.factor", {3, 8}, AxisGradient::kPartial, true},
          {"identical.norm", {7}, AxisGradient::kIdentical, false},
          {"owned.columns", {5, 8}, AxisGradient::kOwned, false, 1, 8},
          {"partial.norm", {11}, AxisGradient::kPartial, false},
          {"shared.one_head", {3, 4}, AxisGradient::kShared, false, 0, 1}};
}

// Groups of three, in the model's order.
inline int GroupOf(size_t index) { return static_cast<int>(index) / 3; }

// This tp rank's slice, and how many ranks hold it.
struct Share {
  ParamSlice slice;
  int holders = 1;
  int holder = 0;  // this rank among them
};

inline Share Place(const GlobalParam& p, int tp_size, int tp_rank) {
  if (p.relation == AxisGradient::kPartial || p.relation == AxisGradient::kIdentical) {
    return {WholeParam(p.name, p.shape), tp_size, tp_rank};
  }
  const int parts = std::min(tp_size, p.slices), holders = tp_size / parts;
  const int64_t extent = p.shape[static_cast<size_t>(p.dim)] / parts;
  return {SlicedParam(p.name, p.shape, p.dim, tp_rank / holders * extent, extent), holders,
          tp_rank % holders};
}

// Multiples of 1/256 below 1/4: float32 sums of them are exact in any order, so layouts may be
// compared bitwise. A step's gradient is the sum of kUnits parts ("microbatches"), which dp and the
// holders of a slice divide.
constexpr int kUnits = 4;
inline at::Tensor UnitGradient(const GlobalParam& p, int step, int unit) {
  at::Tensor g = at::arange(c10::multiply_integers(p.shape), at::kLong);
  const auto salt = static_cast<int64_t>(p.name.size() * 131 + p.shape.size());
  g = (g * 37 + salt + step * 101 + unit * 53).remainder(127) - 63;
  return g.to(at::kDouble).div_(256).view(p.shape);
}

inline at::Tensor SumOfUnits(const GlobalParam& p, int step, int begin, int end) {
  at::Tensor sum = UnitGradient(p, step, begin);
  for (int unit = begin + 1; unit < end; ++unit) sum = sum + UnitGradient(p, step, unit);
  return sum;
}

inline at::Tensor InitialValue(const GlobalParam& p) {
  return SumOfUnits(p, /*step=*/-1, 0, 1).mul_(4.1).sin_();
}

// What one rank of the mesh adds to its accumulator during `step`.
inline at::Tensor RankGradient(const GlobalParam& p, const Share& place, const Mesh& mesh,
                               int step) {
  const int per_dp = kUnits / mesh.dp().size();
  int begin = mesh.dp().rank() * per_dp, end = begin + per_dp;
  const bool parts = p.relation == AxisGradient::kPartial || p.relation == AxisGradient::kShared;
  if (!parts) return place.slice.PartOf(SumOfUnits(p, step, begin, end));
  const int per_holder = per_dp / place.holders;
  begin += place.holder * per_holder;
  return place.slice.PartOf(SumOfUnits(p, step, begin, begin + per_holder));
}

// tp of every (tp, dp) of this world.
inline std::vector<int> TpSizes() {
  std::vector<int> sizes;
  for (int tp = 1; tp <= TestProcess().world_size(); tp *= 2) sizes.push_back(tp);
  return sizes;
}

// The parameters that this rank declares, in the model's order.
inline std::vector<Parameter*> DeclareModel(ParameterSet& set, const Mesh& mesh,
                                            at::ScalarType dtype,
                                            const std::vector<GlobalParam>& model = Model()) {
  std::vector<Parameter*> declared;
  for (const GlobalParam& p : model) {
    set.BeginGroup(GroupOf(declared.size()));
    declared.push_back(set.Declare({.slice = Place(p, mesh.tp().size(), mesh.tp().rank()).slice,
                                    .placement = {.tp = p.relation},
                                    .trainable = true,
                                    .weight_decay = p.weight_decay,
                                    .dtype = dtype}));
  }
  return declared;
}

// What a rank has of a set, and its optimizer.
struct Rig {
  Rig(ParameterSet& set, const Mesh& mesh, const StorageOptions& storage = {},
      const AdamWOptions& adamw = {})
      : store(set, mesh, at::kCPU, storage), optimizer(store, adamw) {}
  ParameterStore store;
  Optimizer optimizer;
};

// Zeroes the accumulators and adds this rank's gradients of `step`, group by group.
inline void Backward(Rig& rig, const std::vector<Parameter*>& parameters, const Mesh& mesh,
                     int step, const std::vector<GlobalParam>& model = Model()) {
  rig.optimizer.ZeroGradients();
  for (size_t i = model.size(); i-- > 0;) {
    const ParameterStore::Lease lease = rig.store.Acquire(parameters[i]->group);
    rig.store.BeginGradients(parameters[i]->group);
    const Share place = Place(model[i], mesh.tp().size(), mesh.tp().rank());
    parameters[i]->grad.add_(RankGradient(model[i], place, mesh, step));
    rig.store.EndGradients(parameters[i]->group);
    const bool last = i == 0 || parameters[i - 1]->group != parameters[i]->group;
    if (last) rig.store.CompleteGradients(parameters[i]->group);
  }
}

// Sets the values to those of before the first step.
inline void FillInitialValues(Rig& rig, const std::vector<GlobalParam>& model) {
  const absl::Status filled = rig.store.Write([&](const std::vector<Parameter*>& parameters) {
    for (Parameter* parameter : parameters) {
      for (const GlobalParam& p : model) {
        if (p.name != parameter->slice.name) continue;
        parameter->value.copy_(parameter->slice.PartOf(InitialValue(p)));
      }
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(filled.ok()) << filled;
  rig.optimizer.MastersFromParameters();
}

inline at::Tensor ValueOf(Rig& rig, const Parameter& parameter) {
  const ParameterStore::Lease lease = rig.store.Acquire(parameter.group);
  return parameter.value.clone();
}

// How the optimizer stores what it has.
struct Storage {
  int zero_stage;
  StatePlace place = StatePlace::kDevice;
};
inline std::string NameOf(const ::testing::TestParamInfo<Storage>& info) {
  return "Zero" + std::to_string(info.param.zero_stage) +
         (info.param.place == StatePlace::kHost ? "OnHost" : "");
}
inline auto EveryStorage() {
  return ::testing::Values(Storage{0}, Storage{1}, Storage{2}, Storage{3},
                           Storage{0, StatePlace::kHost}, Storage{3, StatePlace::kHost});
}

// The norm of the whole model's gradient of `step`.
inline double ReferenceNorm(int step) {
  double sum = 0.0;
  for (const GlobalParam& p : Model())
    sum += SumOfUnits(p, step, 0, kUnits).square().sum().item<double>();
  return std::sqrt(sum);
}

}  // namespace fttrain::optimizer_test
