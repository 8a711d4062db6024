// Which linears of a model an adapter is on: PEFT's rules (adapter_form.h), their checks, and the
// result in words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/linears/adapter.h"
#include "model/linears/module_names.h"

namespace fttrain {

// AdapterForm::On with errors as PythonRegex has them.
absl::StatusOr<std::optional<LowRank>> LowRankOn(const AdapterForm& form,
                                                 const std::string& module);

// AdapterForm::OnParameter likewise. rank_pattern and alpha_pattern count, no other restriction.
absl::StatusOr<std::optional<LowRank>> LowRankOnParameter(const AdapterForm& form,
                                                          const std::string& parameter);

// Full names of the model's linears that have an adapter, in its order.
absl::StatusOr<std::vector<std::string>> AdaptedModules(const ModelSpec& model,
                                                        const AdapterForm& form);

// InvalidArgument, as "WHERE: target_modules ...", if a regular expression does not compile, if a
// module is meant that cannot be adapted here (embedding, head, norms, blocks), or if none is; of
// target_parameters, if one means none of this model's.
absl::Status CheckAdapter(const ModelSpec& model, const AdapterForm& form,
                          const std::string& where);
// InvalidArgument, as "WHERE: exclude_modules ...", for a name, a layer or a pattern that is
// without effect on this model, which PEFT passes over.
absl::Status CheckAdapterEntries(const ModelSpec& model, const AdapterForm& form,
                                 const std::string& where);

// "q_proj, v_proj of layers 0, 2-5; up_proj", without layers where all of the model's are meant.
std::string DescribeModules(const std::vector<std::string>& modules, int64_t num_layers);
// "[q_proj, v_proj]", "all-linear", or a regular expression in quotes.
std::string ToString(const ModuleNames& modules);

}  // namespace fttrain
