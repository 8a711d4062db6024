// Names of a model's modules, told apart by whether they may have an adapter.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "model/config/spec.h"

namespace fttrain {

// Full names of the linears of the model's layers that may have an adapter, in their order. Not
// those of experts, nor their router; nor a dense layer's of the same last name, for PEFT takes
// such a name for the parameters that a layer's experts have together, wherever it stands.
std::vector<std::string> LinearModules(const ModelSpec& model);

// Last parts of their names, each once, in the order of a layer.
std::vector<std::string> LinearLeaves(const ModelSpec& model);

// Names of the modules that have no adapter: what holds linears, norms, both ends, and what shares
// a name with experts.
std::set<std::string> OtherModules(const ModelSpec& model);
// " (...)": why such a module has none, if it is for its name.
std::string ReasonOfName(const ModelSpec& model, const std::string& module);

}  // namespace fttrain
