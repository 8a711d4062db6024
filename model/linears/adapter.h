// The tensors of an adapter (adapter_form.h) on a model.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config/spec.h"
#include "model/linears/adapter_form.h"
#include "parallel/layout/param.h"

namespace fttrain {

// Names and global shapes of the factors that the form gives a model's linears, in the model's
// order; of experts, as files have them, with the parameter in place of the module. The form passes
// CheckAdapter.
std::vector<TensorSpec> AdapterTensors(const ModelSpec& model, const AdapterForm& form);

// A: kaiming uniform (a = sqrt 5: U(-1/sqrt(in), 1/sqrt(in))), B: zero, as PEFT initialises them.
// Element values depend on (seed, tensor name, global index) alone. Touches only the adapters'
// factors among `parameters`.
void InitializeAdapters(const std::vector<Parameter*>& parameters, uint64_t seed);

}  // namespace fttrain
