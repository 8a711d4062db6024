#include "model/linears/linears.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/linears/expert_factors.h"
#include "runtime/math/philox.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

// Which factors are copied, to save a product from making its own.
struct CopiedFactors {
  bool a = false, b = false;
  at::ScalarType dtype = at::kFloat;
};
CopiedFactors CopiesOf(size_t adapters, at::ScalarType compute, double dropout,
                       c10::Device device) {
  const at::ScalarType dtype = LowRankDtype(device, compute);
  const bool converted = dtype != FactorDtype(compute);
  return {converted || (adapters > 1 && dropout == 0.0), converted, dtype};
}

}  // namespace

Linears::Linears(const std::vector<LinearSpec>& specs, const ParameterForm& form, TensorRank tp,
                 const ParameterSet& set, Nf4Ahead* ahead)
    : compute_(form.compute), dropout_(form.adapter ? form.adapter->dropout : 0.0) {
  for (const LinearSpec& spec : specs) {
    const LinearNames names(spec);
    members_.push_back(
        {.spec = spec,
         .weight = WeightMatrix(set.Get(names.weight), form.compute, form.Nf4Of(spec), ahead),
         .bias = set.Find(names.bias),
         .adds_bias = !spec.splits_input() || tp.rank == 0});
    if (form.AdapterOf(spec)) AddAdapter(spec, form, tp, set);
  }
}

void Linears::AddAdapter(const LinearSpec& spec, const ParameterForm& form, TensorRank tp,
                         const ParameterSet& set) {
  const FactorNames names(spec, *form.adapter);
  Parameter* const a = set.Find(names.a);
  members_.back().b = set.Find(names.b);
  TORCH_CHECK(a != nullptr && members_.back().b != nullptr, spec.name,
              " has no adapter in the set");
  if (adapters_.empty() || adapters_.back().a != a) {
    const bool row = spec.splits_input();
    adapters_.push_back({.module = spec.module(),
                         .a = a,
                         .members = {},
                         .input_offset = row ? SliceOf(spec, tp).range.offset : 0,
                         .inputs = spec.in,
                         .columns = {rank_, a->slice.global_shape[0]},
                         .scale = form.AdapterOf(spec)->scale});
    rank_ += a->slice.global_shape[0];
  }
  adapters_.back().members.push_back(members_.size() - 1);
}

bool Linears::HasTrainable() const {
  return !adapters_.empty() ||
         std::any_of(members_.begin(), members_.end(),
                     [](const Member& each) { return each.weight.parameter()->trainable; });
}

void Linears::Hold(bool hold) {
  for (Member& member : members_) member.weight.Hold(hold);
}

void Linears::HoldFactors(bool hold) {
  a_copy_.reset();
  for (Member& member : members_) member.b_copy.reset();
  if (!hold || adapters_.empty()) return;
  const at::Tensor& first = adapters_.front().a->value;
  const CopiedFactors copies = CopiesOf(adapters_.size(), compute_, dropout_, first.device());
  const MemoryScope scope(MemoryCategory::kAdapters);
  if (copies.a) a_copy_ = at::empty({rank_, first.size(1)}, first.options().dtype(copies.dtype));
  for (const Adapter& adapter : adapters_) {
    if (copies.a) FactorA(adapter).copy_(adapter.a->value);
    if (!copies.b) continue;
    for (const size_t i : adapter.members) {
      members_[i].b_copy = members_[i].b->value.to(copies.dtype);
    }
  }
}

bool Linears::Drops(const DropoutContext& dropout) const {
  return !adapters_.empty() && dropout_ > 0.0 && dropout.token_index.defined();
}

at::Tensor Linears::Dropped(const Adapter& adapter, const at::Tensor& x,
                            const DropoutContext& dropout) const {
  return Dropout(x, dropout.token_index, dropout_, {dropout.step_key, StreamOfName(adapter.module)},
                 adapter.input_offset, adapter.inputs);
}

at::Tensor Linears::FactorA(const Adapter& adapter) const {
  if (!a_copy_.defined()) return adapter.a->value;
  return a_copy_.narrow(0, adapter.columns.offset, adapter.columns.extent);
}

at::Tensor Linears::StackedA() const {
  if (a_copy_.defined()) return a_copy_;
  if (adapters_.size() == 1) return adapters_.front().a->value;
  std::vector<at::Tensor> factors;
  for (const Adapter& adapter : adapters_) factors.push_back(adapter.a->value);
  return at::cat(factors);
}

std::vector<at::Tensor> Linears::Forward(const at::Tensor& x, const DropoutContext& dropout,
                                         bool adapters, const at::Tensor& bias_shares) const {
  std::vector<at::Tensor> y;
  for (const Member& member : members_) {
    y.push_back(at::empty({x.size(0), member.weight.out()}, x.options()));
  }
  ForwardInto(y, x, dropout, adapters, bias_shares);
  return y;
}

void Linears::ForwardInto(const std::vector<at::Tensor>& y, const at::Tensor& x,
                          const DropoutContext& dropout, bool adapters,
                          const at::Tensor& bias_shares) const {
  AddProductSums(ForwardSums(y, x, dropout, adapters, bias_shares));
}

std::vector<ProductSum> Linears::ForwardSums(const std::vector<at::Tensor>& y, const at::Tensor& x,
                                             const DropoutContext& dropout, bool adapters,
                                             const at::Tensor& bias_shares) const {
  std::vector<ProductSum> sums;
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    const WeightMatrix& weight = member.weight;
    TORCH_CHECK(x.dim() == 2 && x.size(1) == weight.in(), member.spec.name, ": input ", x.sizes(),
                " for a weight [", weight.out(), ", ", weight.in(), "]");
    const bool add_bias = member.bias != nullptr && member.adds_bias;
    if (add_bias) y[i].copy_(member.bias->value.expand_as(y[i]));
    if (add_bias && bias_shares.defined()) y[i].mul_(bias_shares);
    sums.push_back({y[i], {{x, weight.operand().t()}}, add_bias});
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  std::vector<ProductSum> first;
  if (adapters && !adapters_.empty()) {
    const at::Tensor low = EmptyLowRank(x, rank_);
    if (!Drops(dropout)) first.push_back({low, {{x, StackedA().t()}}});
    for (const Adapter& adapter : adapters_) {
      const at::Tensor part = adapter.Part(low);
      if (Drops(dropout)) {
        AddProducts(part, {{Dropped(adapter, x, dropout), FactorA(adapter).t()}}, false);
      }
      for (const size_t i : adapter.members) {
        sums[i].products.push_back({part, members_[i].B().t(), adapter.scale});
      }
    }
  }
  first.insert(first.end(), sums.begin(), sums.end());
  return first;
}

std::vector<ProductSum> Linears::LowGradients(const std::vector<at::Tensor>& dy,
                                              const at::Tensor& dlow) const {
  std::vector<ProductSum> sums;
  for (const Adapter& adapter : adapters_) {
    ProductSum sum;
    sum.out = adapter.Part(dlow);
    for (const size_t i : adapter.members) {
      sum.products.push_back({dy[i], members_[i].B(), adapter.scale});
    }
    sums.push_back(std::move(sum));
  }
  return sums;
}

at::Tensor Linears::BackwardInput(const std::vector<at::Tensor>& dy, const DropoutContext& dropout,
                                  at::Tensor& dx) const {
  const bool accumulate = dx.defined();
  if (!accumulate) {
    dx = at::empty({dy.front().size(0), members_.front().weight.in()}, dy.front().options());
  }
  at::Tensor dlow;
  AddProductSums(BackwardSums(dy, dropout, dx, accumulate, dlow));
  if (!Drops(dropout)) return dlow;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  at::Tensor dadapter = at::empty_like(dx);
  for (const Adapter& adapter : adapters_) {
    AddProducts(dadapter, {{adapter.Part(dlow), FactorA(adapter)}}, false);
    dx.add_(Dropped(adapter, dadapter, dropout));
  }
  return dlow;
}

std::vector<ProductSum> Linears::BackwardSums(const std::vector<at::Tensor>& dy,
                                              const DropoutContext& dropout, const at::Tensor& dx,
                                              bool accumulate, at::Tensor& dlow) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  std::vector<ProductSum> sums;
  if (!adapters_.empty()) {
    dlow = EmptyLowRank(dy.front(), rank_);
    sums = LowGradients(dy, dlow);
  }
  if (!dx.defined()) return sums;
  ProductSum input = {dx, {}, accumulate};
  for (size_t i = 0; i < members_.size(); ++i) {
    input.products.push_back({dy[i], members_[i].weight.operand()});
  }
  if (!adapters_.empty() && !Drops(dropout)) input.products.push_back({dlow, StackedA()});
  sums.push_back(std::move(input));
  return sums;
}

at::Tensor Linears::BackwardLow(const std::vector<at::Tensor>& dy) const {
  at::Tensor dlow;
  AddProductSums(BackwardSums(dy, /*dropout=*/{}, /*dx=*/{}, /*accumulate=*/false, dlow));
  return dlow;
}

void Linears::BackwardParams(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                             const at::Tensor& x, const DropoutContext& dropout,
                             const at::Tensor& bias_shares) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (!member.weight.parameter()->trainable) continue;
    AddProducts(member.weight.parameter()->grad, {{dy[i].t(), x}}, /*accumulate=*/true);
    if (member.bias == nullptr) continue;
    const at::Tensor& grad = member.bias->grad;
    if (bias_shares.defined()) {
      AddProducts(grad.unsqueeze(0), {{bias_shares.t(), dy[i]}}, /*accumulate=*/true);
      continue;
    }
    grad.add_(at::sum(dy[i], {0}, false, grad.scalar_type()));
  }
  if (adapters_.empty()) return;
  if (Drops(dropout)) {
    DroppedAdapterGradients(dy, dlow, x, dropout);
  } else {
    AdapterGradients(dy, dlow, x);
  }
}

void Linears::AddBiasProducts(const at::Tensor& dy, const at::Tensor& dshares) const {
  const Member& member = members_.front();
  if (member.bias == nullptr || !member.adds_bias) return;
  AddProducts(dshares.unsqueeze(1), {{dy, member.bias->value.unsqueeze(1)}}, /*accumulate=*/true);
}

void Linears::GradientsOfB(const Adapter& adapter, const std::vector<at::Tensor>& dy,
                           const at::Tensor& low) const {
  for (const size_t i : adapter.members) {
    AddProducts(members_[i].b->grad, {{dy[i].t(), low, adapter.scale}}, /*accumulate=*/true);
  }
}

// dA_i = dlow_i^T x and dB_i = s_i dy_i^T (x A_i^T).
void Linears::AdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                               const at::Tensor& x) const {
  const at::Tensor a = StackedA();
  const at::Tensor da = at::zeros(a.sizes(), adapters_.front().a->grad.options());
  const at::Tensor low = EmptyLowRank(x, rank_);
  ForRows(x, [&](int64_t begin, const at::Tensor& rows) {
    const int64_t count = rows.size(0);
    AddProducts(low.narrow(0, begin, count), {{rows, a.t()}}, /*accumulate=*/false);
    AddProducts(da, {{dlow.narrow(0, begin, count).t(), rows}}, /*accumulate=*/true);
  });
  for (const Adapter& adapter : adapters_) {
    adapter.a->grad.add_(da.narrow(0, adapter.columns.offset, adapter.columns.extent));
    GradientsOfB(adapter, dy, adapter.Part(low));
  }
}

void Linears::DroppedAdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                                      const at::Tensor& x, const DropoutContext& dropout) const {
  for (const Adapter& adapter : adapters_) {
    const at::Tensor dropped = Dropped(adapter, x, dropout);
    const at::Tensor low = EmptyLowRank(dropped, adapter.columns.extent);
    AddProducts(low, {{dropped, FactorA(adapter).t()}}, /*accumulate=*/false);
    AddProducts(adapter.a->grad, {{adapter.Part(dlow).t(), dropped}}, /*accumulate=*/true);
    GradientsOfB(adapter, dy, low);
  }
}

int64_t FactorCopyBytes(const std::vector<LinearSpec>& specs, const ParameterForm& form,
                        TensorRank tp, c10::Device device) {
  size_t adapters = 0;
  int64_t a = 0, b = 0;  // elements
  for (const LinearSpec& spec : specs) {
    const std::optional<LowRank> adapter = form.AdapterOf(spec);
    if (!adapter) continue;
    const int64_t mine = SliceOf(spec, tp).range.extent;
    const bool column = !spec.splits_input();
    if (HasFactorA(spec)) {
      ++adapters;
      a += adapter->r * (column ? spec.in : mine);
    }
    b += adapter->r * (column ? mine : spec.out);
  }
  if (adapters == 0) return 0;
  const CopiedFactors copies = CopiesOf(adapters, form.compute, form.adapter->dropout, device);
  return ((copies.a ? a : 0) + (copies.b ? b : 0)) *
         static_cast<int64_t>(c10::elementSize(copies.dtype));
}

}  // namespace fttrain
