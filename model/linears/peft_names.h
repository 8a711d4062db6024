// The names of adapter tensors, as PEFT writes them: the one table that declaration,
// initialisation, loading, saving and merging read.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fttrain {

// A low-rank adapter is s B A: A [r, in], B [out, r].
enum class Factor { kA, kB };

// "base_model.model.MODULE.lora_A.weight"; MODULE is the Hugging Face path, e.g.
// model.layers.0.self_attn.q_proj.
std::string PeftName(const std::string& module, Factor factor);

struct AdapterTensorName {
  std::string module;
  Factor factor;
};
// The parts of a PeftName, or of a part of its tensor (tensor_rows.h); nothing for any other name.
std::optional<AdapterTensorName> ParsePeftName(std::string_view name);

}  // namespace fttrain
