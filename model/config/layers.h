// The layers of a model as data. Copies share them until one is changed: a model with experts has
// thousands of linears, and plans copy it often.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "model/config/layer_spec.h"

namespace fttrain {

// Read like a vector.
class Layers {
 public:
  Layers() : Layers(std::vector<LayerSpec>()) {}
  Layers(std::vector<LayerSpec> layers)  // NOLINT: meant to be implicit
      : layers_(std::make_shared<std::vector<LayerSpec>>(std::move(layers))) {}
  // Also in place of moves: one that was moved from would have none to read.
  Layers(const Layers&) = default;
  Layers& operator=(const Layers&) = default;

  operator const std::vector<LayerSpec>&() const { return *layers_; }  // NOLINT: as above
  auto begin() const { return layers_->cbegin(); }
  auto end() const { return layers_->cend(); }
  size_t size() const { return layers_->size(); }
  bool empty() const { return layers_->empty(); }
  const LayerSpec& front() const { return layers_->front(); }
  const LayerSpec& back() const { return layers_->back(); }
  const LayerSpec& operator[](size_t i) const { return (*layers_)[i]; }
  const LayerSpec& at(size_t i) const { return layers_->at(i); }

  // To write to: shared with no copy.
  std::vector<LayerSpec>& Change() {
    if (layers_.use_count() > 1) layers_ = std::make_shared<std::vector<LayerSpec>>(*layers_);
    return *layers_;
  }

 private:
  std::shared_ptr<std::vector<LayerSpec>> layers_;
};

}  // namespace fttrain
