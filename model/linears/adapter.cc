#include "model/linears/adapter.h"

#include <ATen/ATen.h>

#include <cmath>

#include "model/linears/adapter_modules.h"
#include "model/linears/expert_factors.h"
#include "model/linears/peft_names.h"
#include "runtime/math/philox.h"

namespace fttrain {
namespace {

// Rows of the global tensor [r, in] that this rank's slice [r, extent] shows, drawn element by
// element.
void FillKaimingUniform(Parameter& parameter, uint64_t seed) {
  const ParamSlice& slice = parameter.slice;
  const int64_t rows = slice.global_shape[0], in = slice.global_shape[1];
  const int64_t offset = slice.dim == 1 ? slice.offset : 0;
  const int64_t extent = slice.dim == 1 ? slice.extent : in;
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const uint64_t stream = StreamOfName(slice.name);
  at::Tensor host = at::empty({rows, extent}, at::kFloat);
  float* out = host.data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < extent; ++column) {
      const uint64_t index = static_cast<uint64_t>(row * in + offset + column);
      const PhiloxBlock block = Philox4x32(seed, index / 4, stream);
      const double uniform = UniformFromBits(block.x[index % 4]);
      *out++ = static_cast<float>((2.0 * uniform - 1.0) * bound);
    }
  }
  parameter.value.copy_(host);
}

}  // namespace

std::optional<LowRank> AdapterForm::On(const std::string& module) const {
  const absl::StatusOr<std::optional<LowRank>> low_rank = LowRankOn(*this, module);
  TORCH_CHECK(low_rank.ok(), low_rank.status().ToString());
  return *low_rank;
}

std::optional<LowRank> AdapterForm::OnParameter(const std::string& parameter) const {
  const absl::StatusOr<std::optional<LowRank>> low_rank = LowRankOnParameter(*this, parameter);
  TORCH_CHECK(low_rank.ok(), low_rank.status().ToString());
  return *low_rank;
}

std::vector<TensorSpec> AdapterTensors(const ModelSpec& model, const AdapterForm& form) {
  std::vector<TensorSpec> tensors;
  for (const LayerSpec& layer : model.layers) {
    for (const LinearSpec& linear : ExpertParameters(layer)) {
      const std::string& parameter = linear.stack->tensor;
      const std::optional<LowRank> adapter = form.OnParameter(parameter);
      if (!adapter) continue;
      for (const Factor factor : {Factor::kA, Factor::kB}) {
        tensors.push_back({ParameterFactorName(parameter, form, factor),
                           ParameterFactorShape(linear, adapter->r, factor), parameter,
                           LinearRole::kExpert});
      }
    }
    for (const LinearSpec& linear : ModulesOf(layer)) {
      if (linear.role != LinearRole::kPlain) continue;
      const std::optional<LowRank> adapter = form.On(linear.name);
      if (!adapter) continue;
      tensors.push_back({PeftName(linear.name, Factor::kA), {adapter->r, linear.in}, linear.name});
      tensors.push_back({PeftName(linear.name, Factor::kB), {linear.out, adapter->r}, linear.name});
    }
  }
  return tensors;
}

void InitializeAdapters(const std::vector<Parameter*>& parameters, uint64_t seed) {
  for (Parameter* parameter : parameters) {
    const auto name = ParsePeftName(parameter->slice.name);
    if (!name) continue;
    if (name->factor == Factor::kA) FillKaimingUniform(*parameter, seed);
    if (name->factor == Factor::kB) parameter->value.zero_();
  }
}

}  // namespace fttrain
