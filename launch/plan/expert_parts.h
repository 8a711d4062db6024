// What a plan takes a rank to have of a model whose experts ranks divide.
#pragma once

#include "model/config/layers.h"

namespace fttrain {

// The layers of the first of `ep` ranks (PartOfExperts). A search asks for them of thousands of
// layouts: each thread keeps those that it asked for last.
Layers FirstPartOfExperts(const Layers& layers, int ep);

}  // namespace fttrain
