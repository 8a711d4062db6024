#include "model/linears/parameters.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "model/linears/expert_factors.h"
#include "model/linears/peft_names.h"
#include "model/matmul/tensor_rows.h"
#include "model/matmul/weight_matrix.h"

namespace fttrain {
namespace {

Parameter BaseParameter(ParamSlice slice, AxisGradient gradient, const ParameterForm& form) {
  Parameter parameter;
  parameter.slice = std::move(slice);
  parameter.placement.tp = gradient;
  parameter.trainable = form.train_base;
  parameter.dtype = form.compute;
  return parameter;
}

}  // namespace

std::optional<Nf4Options> ParameterForm::Nf4Of(const std::string& module) const {
  return absl::c_linear_search(nf4_dense, module) ? std::nullopt : nf4;
}

std::optional<Nf4Options> ParameterForm::Nf4Of(const LinearSpec& linear) const {
  if (linear.role == LinearRole::kRouter) return std::nullopt;
  if (linear.role == LinearRole::kExpert && !nf4_experts) return std::nullopt;
  return Nf4Of(linear.module());
}

std::optional<LowRank> ParameterForm::AdapterOf(const LinearSpec& linear) const {
  if (!adapter) return std::nullopt;
  if (linear.role == LinearRole::kExpert && linear.stack) {
    return adapter->OnParameter(linear.stack->tensor);
  }
  return linear.role == LinearRole::kPlain ? adapter->On(linear.module()) : std::nullopt;
}

LinearSlice SliceOf(const NormSpec& spec, TensorRank tp) {
  return SliceOf(
      LinearSpec{
          .name = spec.name, .out = spec.size, .unit = spec.unit, .may_share = spec.may_share},
      tp);
}

LinearSlice SliceOf(const LinearSpec& spec, TensorRank tp) {
  if (spec.split == LinearSplit::kWhole) return {{0, spec.out}, false};
  const int64_t units = spec.units();
  if (units % tp.size == 0) {
    const Range mine = EvenRange(units, tp.size, tp.rank);
    return {{mine.offset * spec.unit, mine.extent * spec.unit}, false};
  }
  TORCH_CHECK(spec.may_share && tp.size % units == 0, spec.name, ": ", units, " units for ",
              tp.size, " ranks");
  return {{tp.rank * units / tp.size * spec.unit, spec.unit}, true};
}

LinearNames::LinearNames(const LinearSpec& spec) {
  if (spec.stacked_in_files()) {
    const auto& [tensor, index, count, first, step, columns, in_files] = *spec.stack;
    weight = NameOfPart(
        {tensor, {count, spec.in, columns}, index * spec.in * columns + first, {step, columns}});
    bias = NameOfPart({tensor + "_bias", {count, columns}, index * columns + first, {step}});
    return;
  }
  const auto rows = [&](std::string tensor) {
    if (!spec.part) return tensor;
    const int64_t begin = spec.part->offset;
    return NameOfRows({std::move(tensor), begin, begin + spec.out, spec.part->rows});
  };
  weight = rows(spec.module() + ".weight");
  bias = rows(spec.module() + ".bias");
  if (spec.role != LinearRole::kPlain) return;
  a = PeftName(spec.module(), Factor::kA);
  b = rows(PeftName(spec.module(), Factor::kB));
}

void DeclareLinear(const LinearSpec& spec, const ParameterForm& form, TensorRank tp,
                   ParameterSet& set) {
  const LinearNames names(spec);
  const LinearSlice mine = SliceOf(spec, tp);
  const bool column = !spec.splits_input();
  TORCH_CHECK(column || !spec.part, spec.name, ": part of a module split by its input");
  const AxisGradient over_ep =
      spec.role == LinearRole::kExpert ? AxisGradient::kOwned : AxisGradient::kPartial;
  const auto when_split = [&](AxisGradient gradient) {
    return tp.size > 1 ? gradient : AxisGradient::kOwned;
  };
  const AxisGradient sliced = spec.split == LinearSplit::kWhole ? when_split(AxisGradient::kPartial)
                              : mine.shared                     ? AxisGradient::kShared
                                                                : AxisGradient::kOwned;
  const ParamSlice weight =
      SliceAlong(names.weight, {spec.out, spec.in}, column ? 0 : 1, mine.range);
  Parameter matrix = BaseParameter(weight, sliced, form);
  matrix.placement.ep = over_ep;
  if (spec.float32) matrix.dtype = FactorDtype(form.compute);
  DeclareMatrix(std::move(matrix), form.Nf4Of(spec), set);
  if (spec.bias) {
    Parameter bias = BaseParameter(WholeParam(names.bias, {spec.out}),
                                   when_split(AxisGradient::kIdentical), form);
    if (column) {
      bias.slice = SliceAlong(names.bias, {spec.out}, 0, mine.range);
      bias.placement.tp = sliced;
    }
    bias.placement.ep = over_ep;
    bias.weight_decay = false;
    set.Declare(std::move(bias));
  }
  const std::optional<LowRank> adapter = form.AdapterOf(spec);
  if (!adapter) return;
  const auto declare = [&](const std::string& name, std::vector<int64_t> shape, int dim,
                           bool split) {
    Parameter parameter;
    parameter.slice =
        split ? SliceAlong(name, std::move(shape), dim, mine.range) : WholeParam(name, shape);
    parameter.placement.tp = split ? sliced : when_split(AxisGradient::kPartial);
    parameter.placement.ep = over_ep;
    parameter.trainable = true;
    parameter.category = MemoryCategory::kAdapters;
    parameter.dtype = FactorDtype(form.compute);
    set.Declare(std::move(parameter));
  };
  const FactorNames factors(spec, *form.adapter);
  const bool declared = !HasFactorA(spec) && set.Find(factors.a) != nullptr;
  if (!declared) declare(factors.a, {adapter->r, spec.in}, 1, !column);
  declare(factors.b, {spec.out, adapter->r}, 0, column);
}

void DeclareNorm(const NormSpec& spec, AxisGradient gradient, const ParameterForm& form,
                 TensorRank tp, ParameterSet& set) {
  Parameter norm = BaseParameter(WholeParam(spec.name + ".weight", {spec.size}), gradient, form);
  if (spec.over == NormOver::kAllHeads) {
    const LinearSlice mine = SliceOf(spec, tp);
    norm.slice = SliceAlong(norm.slice.name, {spec.size}, 0, mine.range);
    norm.placement.tp = mine.shared ? AxisGradient::kShared : AxisGradient::kOwned;
  }
  norm.weight_decay = false;
  set.Declare(std::move(norm));
}

void DeclareConstant(const ConstantSpec& spec, const ParameterForm& form, ParameterSet& set) {
  Parameter constant;
  constant.slice = WholeParam(spec.name, {spec.size});
  constant.dtype = FactorDtype(form.compute);
  set.Declare(std::move(constant));
}

void DeclareSinks(const AttentionSpec& spec, const ParameterForm& form, TensorRank tp,
                  ParameterSet& set) {
  const Range mine = SliceOf(spec.q, tp).range;
  const ParamSlice slice = SliceAlong(spec.sinks, {spec.heads}, 0,
                                      {mine.offset / spec.head_dim, mine.extent / spec.head_dim});
  // Decayed as matrices are: trainers leave out what is called a bias or a norm.
  set.Declare(BaseParameter(slice, AxisGradient::kOwned, form));
}

}  // namespace fttrain
