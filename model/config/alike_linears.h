// A block's linears by what they cost.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/config/spec.h"

namespace fttrain {

// Those together that read one input: experts have one shape and one form, and the first one's
// stand for them all.
struct AlikeLinears {
  std::vector<LinearSpec> linears;
  int64_t times = 1;
};
std::vector<AlikeLinears> AlikeLinearsByInput(const BlockSpec& block);

// visit(a linear, how many it stands for) for those of all layers.
void ForEachAlikeLinear(const ModelSpec& model,
                        const std::function<void(const LinearSpec&, int64_t)>& visit);

}  // namespace fttrain
