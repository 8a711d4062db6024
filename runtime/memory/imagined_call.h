// One call of an ATen operation, as a dispatcher's fallback sees it: for imagined_operations.cc.
#pragma once

#include <ATen/ATen.h>
#include <torch/library.h>

#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fttrain {

// Operations that give new tensors, or their argument, though their schemas speak of views.
inline const std::set<std::string_view> kSometimesViews = {"aten::to", "aten::contiguous",
                                                           "aten::reshape", "aten::flatten"};
// On the CPU, what is imagined where it is large. What is not here is computed, on zeros: views,
// metadata, and what is seldom.
inline const std::set<std::string_view> kLargeOnCpu = {
    "aten::zero_",        "aten::fill_",       "aten::copy_",      "aten::add_",
    "aten::sub_",         "aten::mul_",        "aten::div_",       "aten::addmm_",
    "aten::masked_fill_", "aten::index_copy_", "aten::index_add_", "aten::exp_",
    "aten::index_select", "aten::mm",          "aten::bmm",        "aten::zeros",
    "aten::zeros_like",   "aten::full_like",   "aten::full",       "aten::to",
    "aten::contiguous",   "aten::clone",       "aten::cat",        "aten::sum",
    "aten::mul"};

// What is the same of every call of an operation.
struct Traits {
  explicit Traits(const c10::FunctionSchema& schema) {
    const auto& returns = schema.returns();
    is_view = !returns.empty() && returns[0].alias_info() != nullptr &&
              kSometimesViews.count(schema.name()) == 0;
    returns_tensors = !returns.empty() && returns[0].type()->isSubtypeOf(*c10::TensorType::get());
    large_on_cpu = kLargeOnCpu.count(schema.name()) > 0;
    for (size_t i = 0; i < schema.arguments().size(); ++i) {
      const c10::Argument& argument = schema.arguments()[i];
      const auto* alias = argument.alias_info();
      if (alias != nullptr && alias->isWrite()) written.push_back(i);
      if (argument.name() == "device") device = static_cast<int>(i);
      if (argument.name() == "pin_memory") pin_memory = static_cast<int>(i);
    }
  }
  bool is_view, returns_tensors, large_on_cpu;
  std::vector<size_t> written;       // arguments
  int device = -1, pin_memory = -1;  // arguments; -1: it has none
};

inline const Traits& TraitsOf(const c10::OperatorHandle& op) {
  thread_local std::unordered_map<const c10::FunctionSchema*, Traits> known;
  const c10::FunctionSchema& schema = op.schema();
  const auto found = known.find(&schema);
  return found != known.end() ? found->second : known.emplace(&schema, schema).first->second;
}

// An operation and its arguments, which lie on top of the stack.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack* stack)
      : op_(op),
        traits_(TraitsOf(op)),
        stack_(stack),
        first_(stack->size() - op.schema().arguments().size()) {}

  const std::string& name() const { return op_.schema().name(); }
  size_t size() const { return op_.schema().arguments().size(); }
  const c10::IValue& operator[](size_t i) const { return (*stack_)[first_ + i]; }
  const c10::Argument& argument(size_t i) const { return op_.schema().arguments()[i]; }
  const c10::IValue* Find(const char* argument_name) const {
    for (size_t i = 0; i < size(); ++i) {
      if (argument(i).name() == argument_name) return &(*this)[i];
    }
    return nullptr;
  }
  const c10::OperatorHandle& op() const { return op_; }

  // visit(tensor) for each tensor among them, until it is true of one; whether it was.
  template <typename Visit>
  bool AnyTensor(const Visit& visit) const {
    for (size_t i = 0; i < size(); ++i) {
      const c10::IValue& value = (*this)[i];
      if (value.isTensor()) {
        if (value.toTensor().defined() && visit(value.toTensor())) return true;
      } else if (value.isTensorList()) {
        for (const at::Tensor& t : value.toTensorVector()) {
          if (visit(t)) return true;
        }
      }
    }
    return false;
  }
  // The one that it writes; undefined if it writes none.
  at::Tensor Written() const {
    for (const size_t i : traits_.written) {
      if ((*this)[i].isTensor()) return (*this)[i].toTensor();
    }
    return {};
  }
  const Traits& traits() const { return traits_; }

  void Perform() const { op_.callBoxed(stack_); }
  void Return(std::vector<c10::IValue> results) const {
    stack_->resize(first_);
    for (c10::IValue& each : results) stack_->push_back(std::move(each));
  }

 private:
  const c10::OperatorHandle& op_;
  const Traits& traits_;
  torch::jit::Stack* stack_;
  size_t first_;
};

}  // namespace fttrain
