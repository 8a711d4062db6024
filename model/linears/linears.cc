#include "model/linears/linears.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/linears/peft_names.h"
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
    const bool row = spec.split == LinearSplit::kRow;
    Member member{.spec = spec,
                  .weight = WeightMatrix(set.Get(spec.name + ".weight"), form.compute,
                                         form.Nf4Of(spec.name), ahead),
                  .bias = set.Find(spec.name + ".bias"),
                  .adds_bias = !row || tp.rank == 0,
                  .a = set.Find(PeftName(spec.name, Factor::kA)),
                  .b = set.Find(PeftName(spec.name, Factor::kB)),
                  .input_offset = row ? SliceOf(spec, tp).range.offset : 0};
    if (const std::optional<LowRank> adapter = form.AdapterOf(spec.name)) {
      TORCH_CHECK(member.a != nullptr && member.b != nullptr, spec.name,
                  " has no adapter in the set");
      member.scale = adapter->scale;
      member.columns = {rank_, member.a->slice.global_shape[0]};
      rank_ += member.columns.extent;
      adapted_.push_back(members_.size());
    }
    members_.push_back(std::move(member));
  }
}

bool Linears::HasTrainable() const {
  return !adapted_.empty() || std::any_of(members_.begin(), members_.end(), [](const Member& each) {
    return each.weight.parameter()->trainable;
  });
}

void Linears::Hold(bool hold) {
  for (Member& member : members_) member.weight.Hold(hold);
}

void Linears::HoldFactors(bool hold) {
  a_copy_.reset();
  for (Member& member : members_) member.b_copy.reset();
  if (!hold || adapted_.empty()) return;
  const at::Tensor& first = members_[adapted_.front()].a->value;
  const CopiedFactors copies = CopiesOf(adapted_.size(), compute_, dropout_, first.device());
  const MemoryScope scope(MemoryCategory::kAdapters);
  if (copies.a) a_copy_ = at::empty({rank_, first.size(1)}, first.options().dtype(copies.dtype));
  for (const size_t i : adapted_) {
    Member& member = members_[i];
    if (copies.a) FactorA(member).copy_(member.a->value);
    if (copies.b) member.b_copy = member.b->value.to(copies.dtype);
  }
}

bool Linears::Drops(const DropoutContext& dropout) const {
  return !adapted_.empty() && dropout_ > 0.0 && dropout.token_index.defined();
}

at::Tensor Linears::Dropped(const Member& member, const at::Tensor& x,
                            const DropoutContext& dropout) const {
  return Dropout(x, dropout.token_index, dropout_,
                 {dropout.step_key, StreamOfName(member.spec.name)}, member.input_offset,
                 member.spec.in);
}

at::Tensor Linears::FactorA(const Member& member) const {
  if (!a_copy_.defined()) return member.a->value;
  return a_copy_.narrow(0, member.columns.offset, member.columns.extent);
}

at::Tensor Linears::StackedA() const {
  if (a_copy_.defined()) return a_copy_;
  if (adapted_.size() == 1) return members_[adapted_.front()].a->value;
  std::vector<at::Tensor> factors;
  for (const size_t i : adapted_) factors.push_back(members_[i].a->value);
  return at::cat(factors);
}

std::vector<at::Tensor> Linears::Forward(const at::Tensor& x, const DropoutContext& dropout,
                                         bool adapters) const {
  std::vector<ProductSum> sums;
  std::vector<at::Tensor> y;
  for (const Member& member : members_) {
    const WeightMatrix& weight = member.weight;
    TORCH_CHECK(x.dim() == 2 && x.size(1) == weight.in(), member.spec.name, ": input ", x.sizes(),
                " for a weight [", weight.out(), ", ", weight.in(), "]");
    y.push_back(at::empty({x.size(0), weight.out()}, x.options()));
    const bool add_bias = member.bias != nullptr && member.adds_bias;
    if (add_bias) y.back().copy_(member.bias->value.expand_as(y.back()));
    sums.push_back({y.back(), {{x, weight.operand().t()}}, add_bias});
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  std::vector<ProductSum> first;
  if (adapters && !adapted_.empty()) {
    const at::Tensor low = EmptyLowRank(x, rank_);
    if (!Drops(dropout)) first.push_back({low, {{x, StackedA().t()}}});
    for (const size_t i : adapted_) {
      const Member& member = members_[i];
      const at::Tensor part = member.Part(low);
      if (Drops(dropout)) {
        AddProducts(part, {{Dropped(member, x, dropout), FactorA(member).t()}}, false);
      }
      sums[i].products.push_back({part, member.B().t(), member.scale});
    }
  }
  first.insert(first.end(), sums.begin(), sums.end());
  AddProductSums(first);
  return y;
}

std::vector<ProductSum> Linears::LowGradients(const std::vector<at::Tensor>& dy,
                                              const at::Tensor& dlow) const {
  std::vector<ProductSum> sums;
  for (const size_t i : adapted_) {
    const Member& member = members_[i];
    sums.push_back({member.Part(dlow), {{dy[i], member.B(), member.scale}}});
  }
  return sums;
}

at::Tensor Linears::BackwardInput(const std::vector<at::Tensor>& dy, const DropoutContext& dropout,
                                  at::Tensor& dx) const {
  ProductSum input;
  input.accumulate = dx.defined();
  if (!dx.defined()) {
    dx = at::empty({dy.front().size(0), members_.front().weight.in()}, dy.front().options());
  }
  input.out = dx;
  for (size_t i = 0; i < members_.size(); ++i) {
    input.products.push_back({dy[i], members_[i].weight.operand()});
  }
  if (adapted_.empty()) {
    AddProductSums(input);
    return {};
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor dlow = EmptyLowRank(dy.front(), rank_);
  std::vector<ProductSum> sums = LowGradients(dy, dlow);
  if (!Drops(dropout)) input.products.push_back({dlow, StackedA()});
  sums.push_back(std::move(input));
  AddProductSums(sums);
  if (!Drops(dropout)) return dlow;
  at::Tensor dadapter = at::empty_like(dx);
  for (const size_t i : adapted_) {
    const Member& member = members_[i];
    AddProducts(dadapter, {{member.Part(dlow), FactorA(member)}}, false);
    dx.add_(Dropped(member, dadapter, dropout));
  }
  return dlow;
}

at::Tensor Linears::BackwardLow(const std::vector<at::Tensor>& dy) const {
  if (adapted_.empty()) return {};
  const at::Tensor dlow = EmptyLowRank(dy.front(), rank_);
  AddProductSums(LowGradients(dy, dlow));
  return dlow;
}

void Linears::BackwardParams(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                             const at::Tensor& x, const DropoutContext& dropout) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (!member.weight.parameter()->trainable) continue;
    AddProducts(member.weight.parameter()->grad, {{dy[i].t(), x}}, /*accumulate=*/true);
    if (member.bias == nullptr) continue;
    const at::Tensor& grad = member.bias->grad;
    grad.add_(at::sum(dy[i], {0}, false, grad.scalar_type()));
  }
  if (adapted_.empty()) return;
  if (Drops(dropout)) {
    DroppedAdapterGradients(dy, dlow, x, dropout);
  } else {
    AdapterGradients(dy, dlow, x);
  }
}

// dA_i = dlow_i^T x and dB_i = s_i dy_i^T (x A_i^T).
void Linears::AdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                               const at::Tensor& x) const {
  const at::Tensor a = StackedA();
  const at::Tensor da = at::zeros(a.sizes(), members_[adapted_.front()].a->grad.options());
  const at::Tensor low = EmptyLowRank(x, rank_);
  ForRows(x, [&](int64_t begin, const at::Tensor& rows) {
    const int64_t count = rows.size(0);
    AddProducts(low.narrow(0, begin, count), {{rows, a.t()}}, /*accumulate=*/false);
    AddProducts(da, {{dlow.narrow(0, begin, count).t(), rows}}, /*accumulate=*/true);
  });
  for (const size_t i : adapted_) {
    const Member& member = members_[i];
    member.a->grad.add_(da.narrow(0, member.columns.offset, member.columns.extent));
    AddProducts(member.b->grad, {{dy[i].t(), member.Part(low), member.scale}}, /*accumulate=*/true);
  }
}

void Linears::DroppedAdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                                      const at::Tensor& x, const DropoutContext& dropout) const {
  for (const size_t i : adapted_) {
    const Member& member = members_[i];
    const at::Tensor dropped = Dropped(member, x, dropout);
    const at::Tensor low = EmptyLowRank(dropped, member.columns.extent);
    AddProducts(low, {{dropped, FactorA(member).t()}}, /*accumulate=*/false);
    AddProducts(member.a->grad, {{member.Part(dlow).t(), dropped}}, /*accumulate=*/true);
    AddProducts(member.b->grad, {{dy[i].t(), low, member.scale}}, /*accumulate=*/true);
  }
}

int64_t FactorCopyBytes(const std::vector<LinearSpec>& specs, const ParameterForm& form,
                        TensorRank tp, c10::Device device) {
  size_t adapters = 0;
  int64_t a = 0, b = 0;  // elements
  for (const LinearSpec& spec : specs) {
    const std::optional<LowRank> adapter = form.AdapterOf(spec.name);
    if (!adapter) continue;
    ++adapters;
    const int64_t mine = SliceOf(spec, tp).range.extent;
    const bool column = spec.split == LinearSplit::kColumn;
    a += adapter->r * (column ? spec.in : mine);
    b += adapter->r * (column ? mine : spec.out);
  }
  if (adapters == 0) return 0;
  const CopiedFactors copies = CopiesOf(adapters, form.compute, form.adapter->dropout, device);
  return ((copies.a ? a : 0) + (copies.b ? b : 0)) *
         static_cast<int64_t>(c10::elementSize(copies.dtype));
}

}  // namespace fttrain
