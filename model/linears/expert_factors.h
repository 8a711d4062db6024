// Adapters on experts as PEFT (0.21) has them, by target_parameters: one pair of factors for a
// parameter of all experts of a layer, A [experts * r, in], expert after expert, and B [out, r *
// experts], whose column k * experts + e is column k of expert e. An expert's own A [r, in] and B
// [out, r] are parts of these (tensor_rows.h); gate and up, which are one parameter, share A.
#pragma once

#include <string>
#include <vector>

#include "model/config/spec.h"
#include "model/linears/adapter_form.h"
#include "model/linears/peft_names.h"

namespace fttrain {

// The names of a linear's factors as parameters: of a module's PEFT's, of parts of one with B's
// rows, of an expert's linear, which the form adapts, parts of those that its parameter has.
struct FactorNames {
  FactorNames(const LinearSpec& linear, const AdapterForm& form);
  std::string a, b;
};

// Whether it is the first of the linears of one input that share factor A.
bool HasFactorA(const LinearSpec& linear);

// PEFT's name of a parameter's factor. Where the form adapts several parameters of one module their
// wrappers are nested, the last one declared outermost: names do not say whose they are.
std::string ParameterFactorName(const std::string& parameter, const AdapterForm& form,
                                Factor factor);

// The linears that stand for parameters of experts, the first of each, in the order of the model.
std::vector<LinearSpec> ExpertParameters(const LayerSpec& layer);
std::vector<LinearSpec> ExpertParameters(const ModelSpec& model);
// What files have of such a parameter's factor: [experts * r, in], [out, r * experts].
std::vector<int64_t> ParameterFactorShape(const LinearSpec& linear, int64_t r, Factor factor);

}  // namespace fttrain
