// PEFT's adapter_config.json.
#include "model/files/adapter_config.h"

#include <cmath>

#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {
namespace {

absl::StatusOr<AdapterForm> Read(std::string_view text) {
  static const Scratch scratch;
  scratch.Write("adapter_config.json", text);
  return ReadAdapterConfig(scratch.path());
}

void Check(const AdapterForm& form) {
  FT_CHECK(form.r >= 1 && form.r < int64_t{1} << 31, form.r);
  FT_CHECK(form.alpha > 0 && std::isfinite(form.alpha), form.alpha);
  FT_CHECK(form.dropout >= 0 && form.dropout < 1, form.dropout);
  FT_CHECK(!form.target_modules.empty(), "");
  for (const auto& [pattern, r] : form.rank_pattern) FT_CHECK(r >= 1, pattern);
  for (const auto& [pattern, alpha] : form.alpha_pattern) {
    FT_CHECK(alpha > 0 && std::isfinite(alpha), pattern);
  }
  for (const int64_t layer : form.layers_to_transform) FT_CHECK(layer >= 0, layer);
}

}  // namespace

std::vector<std::string> Seeds() {
  return {
      R"({"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj","v_proj"]})",
      R"({"peft_type":"LORA","task_type":"CAUSAL_LM","base_model_name_or_path":"b","r":4,"lora_alpha":2.5,"lora_dropout":0.1,"use_rslora":true,"target_modules":".*_proj","exclude_modules":["lm_head"],"bias":"none","init_lora_weights":"gaussian"})",
      R"({"peft_type":"LORA","target_modules":["q_proj"],"layers_to_transform":[0,1],"layers_pattern":"layers","rank_pattern":{"q_proj":2,"^a.b":3},"alpha_pattern":{"q_proj":1.5},"modules_to_save":null,"use_dora":false})"};
}

std::vector<std::string> Words() {
  return {"\"all-linear\"",
          "\"ALL-LINEAR\"",
          "\"rank_pattern\":{}",
          "\"alpha_pattern\"",
          "\"use_dora\"",
          "\"bias\":\"all\"",
          "\"exclude_modules\":",
          "\"layers_to_transform\":3",
          "\"layers_pattern\":[\"h\"]",
          "\"lora_dropout\":",
          "\"init_lora_weights\":\"pissa\"",
          "\"unknown\":1,",
          "null",
          "[]",
          "{}",
          "\"\"",
          "true",
          "\\u0000"};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  const auto form = Read({reinterpret_cast<const char*>(data), size});
  if (!form.ok()) return Refused(form.status());
  ++accepted;
  Check(*form);
  const std::string text = AdapterConfigJson(*form);
  const auto again = Read(text);
  FT_CHECK(again.ok(), again.status().ToString(), "\n", text);
  FT_CHECK(AdapterConfigJson(*again) == text, text);
  FT_CHECK(again->target_modules == form->target_modules, text);
  return 0;
}
