#include "launch/plan/base_form.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "model/files/nf4_folder.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

bool HeadIsDense(const ModelOptions& options) {
  return std::count(options.nf4_dense.begin(), options.nf4_dense.end(), kHeadModule) > 0;
}

// Quantised while loading. The head stays dense unless asked for, as in bitsandbytes.
absl::Status QuantizeOnLoading(const config::QuantizationConfig& quantization,
                               const ModelSpec& model, ModelOptions& options) {
  if (quantization.lm_head()) {
    FT_RETURN_IF_ERROR(CheckHeadCanBeNf4(model, "'adapter.quantization.lm_head'"));
  }
  // Commands that only evaluate take a config that training's validation has not seen.
  const int64_t block = quantization.block_size();
  if (!IsNf4BlockSize(block)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'adapter.quantization.block_size' must be a power of two in [32, 4096], not ", block));
  }
  options.nf4 = Nf4Options{block, quantization.double_quant(), options.compute};
  if (!quantization.lm_head()) options.nf4_dense = {kHeadModule};
  return absl::OkStatus();
}

// A key that was written and says something else than the folder.
absl::Status CheckWritten(const config::LoadedConfig& loaded, const std::string& folder,
                          const ModelOptions& options) {
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
  FT_RETURN_IF_ERROR(check("block_size", asked.block_size() == options.nf4->block_size,
                           absl::StrCat(options.nf4->block_size)));
  FT_RETURN_IF_ERROR(check("double_quant", asked.double_quant() == options.nf4->double_quant,
                           word(options.nf4->double_quant)));
  return check("lm_head", asked.lm_head() != HeadIsDense(options), word(!HeadIsDense(options)));
}

absl::Status UseQuantized(const std::string& folder, const ModelSpec& model,
                          ModelOptions& options) {
  FT_ASSIGN_OR_RETURN(const auto files, SafetensorsFolder::Open(folder));
  FT_ASSIGN_OR_RETURN(const Nf4Folder found, ReadNf4Folder(*files, model));
  options.nf4 = found.options;
  options.nf4_dense = found.dense;
  return absl::OkStatus();
}

}  // namespace

absl::Status SetBaseForm(const config::LoadedConfig& loaded, const std::string& folder,
                         const ModelSpec& model, bool training, ModelOptions& options) {
  const config::RunConfig& run = loaded.config;
  const bool qlora = run.adapter().method() == config::ADAPTER_METHOD_QLORA;
  if (model.quantized) {
    if (training && !qlora) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder,
          " holds NF4 weights (quantization_config in its config.json): use adapter.method "
          "qlora, or the folder of the unquantised model"));
    }
    FT_RETURN_IF_ERROR(FromFile(UseQuantized(folder, model, options)));
    if (qlora) FT_RETURN_IF_ERROR(CheckWritten(loaded, folder, options));
  } else if (qlora) {
    FT_RETURN_IF_ERROR(QuantizeOnLoading(run.adapter().quantization(), model, options));
  }
  options.embedding_on_host = run.memory().embedding() == config::EMBEDDING_PLACE_HOST;
  if (options.embedding_on_host && model.head.tied) {
    return absl::InvalidArgumentError(
        "'memory.embedding' host: this model's embedding table is also its output head "
        "(tie_word_embeddings), which multiplies on the device; use device");
  }
  return absl::OkStatus();
}

void RecordBaseForm(const ModelOptions& options, config::RunConfig& run) {
  if (!options.nf4.has_value()) return;
  config::QuantizationConfig& quantization = *run.mutable_adapter()->mutable_quantization();
  quantization.set_block_size(static_cast<int32_t>(options.nf4->block_size));
  quantization.set_double_quant(options.nf4->double_quant);
  quantization.set_lm_head(!HeadIsDense(options));
}

}  // namespace fttrain
