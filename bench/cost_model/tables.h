// The two questions of cost_model_bench.
#pragma once

namespace fttrain {

// A row of markdown for each published result, and what is more than a fifth off.
void PrintPublished();
// The rows of results/layouts.md and kept_activations.md, from one measured step.
void PrintRecorded();

}  // namespace fttrain
