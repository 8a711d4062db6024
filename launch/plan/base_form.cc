#include "launch/plan/base_form.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "model/files/nf4_folder.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

bool HeadIsDense(const ParameterForm& form) {
  return std::count(form.nf4_dense.begin(), form.nf4_dense.end(), kHeadModule) > 0;
}

// As `fttrain quantize` would write it; of a float32 run float32, which holds what any file has.
// Without weights, as for a plan, nothing is quantised, and bytes are the same in any dtype.
// Whoever reads a folder's weights tells what is wrong with them.
absl::StatusOr<at::ScalarType> RoundingOf(const std::string& folder, const ModelSpec& model,
                                          bool quantize_head, at::ScalarType compute) {
  if (compute != at::kBFloat16) return compute;
  const auto files = SafetensorsFolder::Open(folder);
  if (!files.ok()) return compute;
  return MatrixDtype(**files, model, quantize_head);
}

// Quantised while loading. The head stays dense unless asked for, as in bitsandbytes.
absl::Status QuantizeOnLoading(const config::QuantizationConfig& quantization,
                               const std::string& folder, const ModelSpec& model,
                               ParameterForm& form) {
  if (quantization.lm_head()) {
    FT_RETURN_IF_ERROR(CheckHeadCanBeNf4(model, "'adapter.quantization.lm_head'"));
  }
  // Commands that only evaluate take a config that training's validation has not seen.
  const int64_t block = quantization.block_size();
  if (!IsNf4BlockSize(block)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'adapter.quantization.block_size' must be a power of two in [32, 4096], not ", block));
  }
  FT_ASSIGN_OR_RETURN(const at::ScalarType rounding,
                      FromFile(RoundingOf(folder, model, quantization.lm_head(), form.compute)));
  form.nf4 = Nf4Options{block, quantization.double_quant(), rounding};
  if (!quantization.lm_head()) form.nf4_dense = {kHeadModule};
  form.nf4_experts = quantization.experts();
  return absl::OkStatus();
}

// A key that was written and says something else than the folder.
absl::Status CheckWritten(const config::LoadedConfig& loaded, const std::string& folder,
                          const ParameterForm& form) {
  const config::QuantizationConfig& asked = loaded.config.adapter().quantization();
  const auto check = [&](const char* name, bool equal, const std::string& has) {
    const std::string key = absl::StrCat("adapter.quantization.", name);
    const auto written = loaded.where.find(key);
    if (equal || written == loaded.where.end()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(written->second, ": '", key, "': ", folder,
                                                   " is quantised already, with ", name, " ", has,
                                                   "; remove the key"));
  };
  const auto word = [](bool value) { return value ? "true" : "false"; };
  FT_RETURN_IF_ERROR(check("block_size", asked.block_size() == form.nf4->block_size,
                           absl::StrCat(form.nf4->block_size)));
  FT_RETURN_IF_ERROR(check("double_quant", asked.double_quant() == form.nf4->double_quant,
                           word(form.nf4->double_quant)));
  FT_RETURN_IF_ERROR(
      check("lm_head", asked.lm_head() != HeadIsDense(form), word(!HeadIsDense(form))));
  return check("experts", asked.experts() == form.nf4_experts, word(form.nf4_experts));
}

absl::Status UseQuantized(const std::string& folder, const ModelSpec& model, ParameterForm& form) {
  FT_ASSIGN_OR_RETURN(const auto files, SafetensorsFolder::Open(folder));
  FT_ASSIGN_OR_RETURN(const Nf4Folder found, ReadNf4Folder(*files, model));
  form.nf4 = found.options;
  form.nf4_dense = found.dense;
  form.nf4_experts = found.experts;
  return absl::OkStatus();
}

}  // namespace

absl::Status SetBaseForm(const config::LoadedConfig& loaded, const ModelSpec& model, bool training,
                         ParameterForm& form) {
  const config::RunConfig& run = loaded.config;
  const std::string& folder = run.model().path();
  const bool qlora = run.adapter().method() == config::ADAPTER_METHOD_QLORA;
  if (!model.quantized) {
    return qlora ? QuantizeOnLoading(run.adapter().quantization(), folder, model, form)
                 : absl::OkStatus();
  }
  if (training && !qlora) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder,
        " holds NF4 weights (quantization_config in its config.json): use adapter.method "
        "qlora, or the folder of the unquantised model"));
  }
  FT_RETURN_IF_ERROR(FromFile(UseQuantized(folder, model, form)));
  return qlora ? CheckWritten(loaded, folder, form) : absl::OkStatus();
}

void RecordBaseForm(const ParameterForm& form, config::RunConfig& run) {
  if (!form.nf4.has_value()) return;
  config::QuantizationConfig& quantization = *run.mutable_adapter()->mutable_quantization();
  quantization.set_block_size(static_cast<int32_t>(form.nf4->block_size));
  quantization.set_double_quant(form.nf4->double_quant);
  quantization.set_lm_head(!HeadIsDense(form));
  quantization.set_experts(form.nf4_experts);
}

}  // namespace fttrain
