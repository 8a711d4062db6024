#include "model/linears/linear_group.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "runtime/memory/ledger.h"

namespace fttrain {

LinearGroup::LinearGroup(std::vector<const LocalLinear*> members) : members_(std::move(members)) {
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i]->lora_a_ == nullptr) continue;
    adapters_.push_back({members_[i], i, {rank_, members_[i]->lora_.r}});
    rank_ += members_[i]->lora_.r;
  }
}

bool LinearGroup::HasTrainable() const {
  return std::any_of(members_.begin(), members_.end(),
                     [](const LocalLinear* member) { return member->HasTrainable(); });
}

bool LinearGroup::Drops(const DropoutContext& dropout) const {
  return std::any_of(adapters_.begin(), adapters_.end(),
                     [&](const Adapter& adapter) { return adapter.linear->Drops(dropout); });
}

at::Tensor LinearGroup::StackedA() const {
  if (adapters_.size() == 1) return adapters_.front().linear->lora_a_->value;
  std::vector<at::Tensor> factors;
  for (const Adapter& adapter : adapters_) factors.push_back(adapter.linear->lora_a_->value);
  return at::cat(factors);
}

std::vector<at::Tensor> LinearGroup::Forward(const at::Tensor& x,
                                             const DropoutContext& dropout) const {
  std::vector<ProductSum> sums;
  std::vector<at::Tensor> y;
  for (const LocalLinear* member : members_) {
    const WeightMatrix& weight = member->weight_;
    TORCH_CHECK(x.dim() == 2 && x.size(1) == weight.in(), member->spec_.name, ": input ", x.sizes(),
                " for a weight [", weight.out(), ", ", weight.in(), "]");
    y.push_back(at::empty({x.size(0), weight.out()}, x.options()));
    const bool add_bias = member->bias_ != nullptr && member->spec_.add_bias;
    if (add_bias) y.back().copy_(member->bias_->value.expand_as(y.back()));
    sums.push_back({y.back(), {{x, weight.operand().t()}}, add_bias});
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  std::vector<ProductSum> first;
  if (!adapters_.empty()) {
    const at::Tensor low = EmptyLowRank(x, rank_);
    if (!Drops(dropout)) first.push_back({low, {{x, StackedA().t()}}});
    for (const Adapter& adapter : adapters_) {
      const LocalLinear& linear = *adapter.linear;
      const at::Tensor part = adapter.Part(low);
      if (Drops(dropout)) {
        AddProducts(part, {{linear.Dropped(x, dropout), linear.lora_a_->value.t()}}, false);
      }
      sums[adapter.member].products.push_back(
          {part, linear.lora_b_->value.t(), linear.lora_.Scale()});
    }
  }
  first.insert(first.end(), sums.begin(), sums.end());
  AddProductSums(first);
  return y;
}

std::vector<ProductSum> LinearGroup::LowGradients(const std::vector<at::Tensor>& dy,
                                                  const at::Tensor& dlow) const {
  std::vector<ProductSum> sums;
  for (const Adapter& adapter : adapters_) {
    const LocalLinear& linear = *adapter.linear;
    sums.push_back(
        {adapter.Part(dlow), {{dy[adapter.member], linear.lora_b_->value, linear.lora_.Scale()}}});
  }
  return sums;
}

at::Tensor LinearGroup::BackwardInput(const std::vector<at::Tensor>& dy,
                                      const DropoutContext& dropout, at::Tensor& dx) const {
  ProductSum input;
  input.accumulate = dx.defined();
  if (!dx.defined()) {
    dx = at::empty({dy.front().size(0), members_.front()->weight_.in()}, dy.front().options());
  }
  input.out = dx;
  for (size_t i = 0; i < members_.size(); ++i) {
    input.products.push_back({dy[i], members_[i]->weight_.operand()});
  }
  if (adapters_.empty()) {
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
  for (const Adapter& adapter : adapters_) {
    AddProducts(dadapter, {{adapter.Part(dlow), adapter.linear->lora_a_->value}}, false);
    dx.add_(adapter.linear->Dropped(dadapter, dropout));
  }
  return dlow;
}

at::Tensor LinearGroup::BackwardLow(const std::vector<at::Tensor>& dy) const {
  if (adapters_.empty()) return {};
  const at::Tensor dlow = EmptyLowRank(dy.front(), rank_);
  AddProductSums(LowGradients(dy, dlow));
  return dlow;
}

void LinearGroup::BackwardParams(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                                 const at::Tensor& x, const DropoutContext& dropout) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  for (size_t i = 0; i < members_.size(); ++i) {
    const LocalLinear& linear = *members_[i];
    if (!linear.train_base_) continue;
    AddProducts(linear.weight_.parameter()->grad, {{dy[i].t(), x}}, /*accumulate=*/true);
    if (linear.bias_ == nullptr) continue;
    const at::Tensor& grad = linear.bias_->grad;
    grad.add_(at::sum(dy[i], {0}, false, grad.scalar_type()));
  }
  if (adapters_.empty()) return;
  if (Drops(dropout)) {
    DroppedAdapterGradients(dy, dlow, x, dropout);
  } else {
    AdapterGradients(dy, dlow, x);
  }
}

// dA_i = dlow_i^T x and dB_i = s_i dy_i^T (x A_i^T).
void LinearGroup::AdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                                   const at::Tensor& x) const {
  const at::Tensor a = StackedA();
  const at::Tensor da = at::zeros(a.sizes(), adapters_.front().linear->lora_a_->grad.options());
  const at::Tensor low = EmptyLowRank(x, rank_);
  ForRows(x, [&](int64_t begin, const at::Tensor& rows) {
    const int64_t count = rows.size(0);
    AddProducts(low.narrow(0, begin, count), {{rows, a.t()}}, /*accumulate=*/false);
    AddProducts(da, {{dlow.narrow(0, begin, count).t(), rows}}, /*accumulate=*/true);
  });
  for (const Adapter& adapter : adapters_) {
    const LocalLinear& linear = *adapter.linear;
    linear.lora_a_->grad.add_(da.narrow(0, adapter.columns.offset, adapter.columns.extent));
    AddProducts(linear.lora_b_->grad,
                {{dy[adapter.member].t(), adapter.Part(low), linear.lora_.Scale()}},
                /*accumulate=*/true);
  }
}

void LinearGroup::DroppedAdapterGradients(const std::vector<at::Tensor>& dy, const at::Tensor& dlow,
                                          const at::Tensor& x,
                                          const DropoutContext& dropout) const {
  for (const Adapter& adapter : adapters_) {
    const LocalLinear& linear = *adapter.linear;
    const at::Tensor dropped = linear.Dropped(x, dropout);
    const at::Tensor low = EmptyLowRank(dropped, adapter.columns.extent);
    AddProducts(low, {{dropped, linear.lora_a_->value.t()}}, /*accumulate=*/false);
    AddProducts(linear.lora_a_->grad, {{adapter.Part(dlow).t(), dropped}}, /*accumulate=*/true);
    AddProducts(linear.lora_b_->grad, {{dy[adapter.member].t(), low, linear.lora_.Scale()}},
                /*accumulate=*/true);
  }
}

}  // namespace fttrain
