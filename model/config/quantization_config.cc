#include "model/config/quantization_config.h"

#include <algorithm>
#include <iterator>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

// Settings of other methods, of how quantised products are formed, and of what the tensors say
// themselves.
constexpr const char* kInert[] = {
    "llm_int8_threshold",       "llm_int8_skip_modules",  "llm_int8_enable_fp32_cpu_offload",
    "llm_int8_has_fp16_weight", "bnb_4bit_compute_dtype", "bnb_4bit_use_double_quant",
    "bnb_4bit_quant_storage"};
constexpr const char* kChecked[] = {"quant_method", "load_in_4bit",  "_load_in_4bit",
                                    "load_in_8bit", "_load_in_8bit", "bnb_4bit_quant_type"};

}  // namespace

absl::Status CheckQuantizationConfig(const Json& quantization, const std::string& where) {
  JsonKeys keys(quantization, where);
  const std::string method = keys.Text("quant_method", "");
  if (method != "bitsandbytes") {
    keys.Fail("quant_method",
              absl::StrCat("'", Printable(method),
                           "' is not supported (bitsandbytes with NF4 is), use the "
                           "unquantized model",
                           method == "fp8" ? ", or cast its weights to bfloat16" : ""));
  }
  for (const char* key : {"load_in_8bit", "_load_in_8bit"}) {
    if (keys.Bool(key, false)) keys.Fail(key, "is true: only NF4 in 4 bits is supported");
  }
  if (!keys.Bool("load_in_4bit", keys.Bool("_load_in_4bit", false))) {
    keys.Fail("load_in_4bit", "is not true: only NF4 in 4 bits is supported");
  }
  const std::string type = keys.Text("bnb_4bit_quant_type", "fp4");  // transformers' default
  if (type != "nf4") {
    keys.Fail("bnb_4bit_quant_type",
              absl::StrCat("'", Printable(type), "' is not supported (nf4 is)"));
  }
  for (const auto& [key, value] : quantization.items()) {
    if (absl::c_linear_search(kInert, key) || absl::c_linear_search(kChecked, key) ||
        value.is_null())
      continue;
    keys.Fail(Printable(key),
              absl::StrCat("is ", Printable(value.dump()), ": it is not a key that is known here"));
  }
  return keys.status();
}

bool IsMxfp4Config(const Json& quantization) {
  const auto method = quantization.find("quant_method");
  return method != quantization.end() && *method == "mxfp4";
}

absl::Status CheckMxfp4Config(const Json& quantization, const std::string& where) {
  JsonKeys keys(quantization, where);
  for (const auto& [key, value] : quantization.items()) {
    // Whether transformers keeps 4 bits in memory is its own affair: the values are the same.
    if (key == "quant_method" || key == "modules_to_not_convert" || key == "dequantize") continue;
    if (value.is_null()) continue;
    keys.Fail(Printable(key),
              absl::StrCat("is ", Printable(value.dump()), ": it is not a key that is known here"));
  }
  return keys.status();
}

nlohmann::ordered_json MakeQuantizationConfig(bool double_quant, const std::string& compute_dtype,
                                              const std::vector<std::string>& skipped) {
  return {{"quant_method", "bitsandbytes"},
          {"load_in_4bit", true},
          {"load_in_8bit", false},
          {"bnb_4bit_quant_type", "nf4"},
          {"bnb_4bit_use_double_quant", double_quant},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_compute_dtype", compute_dtype},
          {"llm_int8_skip_modules", skipped},
          {"llm_int8_threshold", 6.0},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false}};
}

}  // namespace fttrain
