#include "model/config/alike_linears.h"

#include <iterator>
#include <utility>
#include <variant>

namespace fttrain {

std::vector<AlikeLinears> AlikeLinearsByInput(const BlockSpec& block) {
  if (const auto* moe = std::get_if<MoeSpec>(&block.body)) {
    const MlpSpec& expert = moe->experts.front();
    const int64_t all = std::ssize(moe->experts);
    return {{{moe->router}, 1}, {{expert.gate, expert.up}, all}, {{expert.down}, all}};
  }
  std::vector<AlikeLinears> alike;
  for (std::vector<LinearSpec>& linears : LinearsByInput(block)) {
    alike.push_back({std::move(linears)});
  }
  return alike;
}

void ForEachAlikeLinear(const ModelSpec& model,
                        const std::function<void(const LinearSpec&, int64_t)>& visit) {
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) {
      for (const AlikeLinears& alike : AlikeLinearsByInput(block)) {
        for (const LinearSpec& linear : alike.linears) visit(linear, alike.times);
      }
    }
  }
}

}  // namespace fttrain
