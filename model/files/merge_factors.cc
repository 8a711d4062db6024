#include "model/files/merge_factors.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/files/part_loader.h"
#include "model/files/weight_loader.h"
#include "model/kernels/dispatch.h"
#include "model/linears/expert_factors.h"
#include "model/linears/peft_names.h"
#include "model/matmul/tensor_rows.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

absl::Status CheckFinite(const AdapterFolder& adapter, const at::Tensor& factor,
                         const std::string& name) {
  if (factor.isfinite().all().item<bool>()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(adapter.tensors->PathOf(TensorOfName(name)), ": tensor '",
                                          name, "' holds a value that is not finite"));
}

}  // namespace

absl::StatusOr<MergeFactors> LoadFactors(const AdapterFolder& adapter, const TensorSpec& matrix,
                                         at::ScalarType dtype) {
  const auto load = [&](Factor factor,
                        const std::vector<int64_t>& shape) -> absl::StatusOr<at::Tensor> {
    const std::string name = PeftName(matrix.module, factor);
    FT_ASSIGN_OR_RETURN(at::Tensor value, LoadSlice(*adapter.tensors, name, shape, -1, 0, 0,
                                                    StatisticsType(dtype), at::kCPU));
    FT_RETURN_IF_ERROR(CheckFinite(adapter, value, name));
    return value;
  };
  const auto [r, scale] = adapter.modules.at(matrix.module);
  MergeFactors factors{.a = {}, .b = {}, .scale = scale};
  FT_ASSIGN_OR_RETURN(factors.a, load(Factor::kA, {r, matrix.shape[1]}));
  FT_ASSIGN_OR_RETURN(factors.b, load(Factor::kB, {matrix.shape[0], r}));
  return factors;
}

absl::StatusOr<MergeFactors> LoadExpertFactors(const AdapterFolder& adapter,
                                               const LinearSpec& expert, at::ScalarType dtype) {
  const auto load = [&](const std::string& name,
                        std::vector<int64_t> shape) -> absl::StatusOr<at::Tensor> {
    at::Tensor value = at::empty(shape, at::TensorOptions(StatisticsType(dtype)));
    FT_RETURN_IF_ERROR(LoadPartInto(*adapter.tensors, WholeParam(name, std::move(shape)), value));
    FT_RETURN_IF_ERROR(CheckFinite(adapter, value, name));
    return value;
  };
  const auto [r, scale] = *adapter.form.OnParameter(expert.stack->tensor);
  const FactorNames names(expert, adapter.form);
  MergeFactors factors{.a = {}, .b = {}, .scale = scale};
  FT_ASSIGN_OR_RETURN(factors.a, load(names.a, {r, expert.in}));
  FT_ASSIGN_OR_RETURN(factors.b, load(names.b, {expert.out, r}));
  return factors;
}

std::map<std::string, LinearSpec> AdaptedExperts(const ModelSpec& model, const AdapterForm& form) {
  std::map<std::string, LinearSpec> experts;
  if (form.target_parameters.empty()) return experts;
  for (const LayerSpec& layer : model.layers) {
    for (const LinearSpec& linear : LinearsOf(layer)) {
      if (linear.role != LinearRole::kExpert || !linear.stack) continue;
      if (!form.OnParameter(linear.stack->tensor)) continue;
      const bool stacked = linear.stacked_in_files();
      experts.emplace(stacked ? linear.stack->tensor : linear.name + ".weight", linear);
    }
  }
  return experts;
}

LinearSpec WholeOfStack(LinearSpec expert, int64_t index) {
  expert.out = expert.stack->columns;
  expert.stack->first = 0;
  expert.stack->step = 1;
  expert.stack->index = index;
  return expert;
}

}  // namespace fttrain
