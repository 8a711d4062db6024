// How near does the time model of `fttrain plan` come to steps that were measured?
//   cost_model_bench [published|recorded]
// published: other stacks' results on GPUs, with stated efficiencies of those stacks.
// recorded: this program's on two CPU cores (results/), from one measured step.
#include <cstdio>
#include <string_view>

#include "bench/cost_model/tables.h"

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (argc > 2 || (!what.empty() && what != "published" && what != "recorded")) {
    std::fprintf(stderr, "cost_model_bench [published|recorded]\n");
    return 2;
  }
  if (what != "recorded") fttrain::PrintPublished();
  if (what.empty()) std::printf("\n");
  if (what != "published") fttrain::PrintRecorded();
  return 0;
}
