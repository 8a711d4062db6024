// What training minimises, as a function of the log-probabilities that the head gives. Pure.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace fttrain {

// Log-probabilities of the targets of one microbatch, in the order of its target rows; equal on all
// tp ranks.
struct Scores {
  at::Tensor log_probability;  // float32 (float64) [M]
  at::Tensor sum;              // float64 scalar: of log_probability, in the head's order
};

struct Losses {
  at::Tensor sum;  // float64 scalar: the microbatch's share of the step's loss, not scaled
  // float32 (float64) [M]: derivative of the scaled loss of the step by -log_probability of each
  // row. Undefined where it is constant.
  at::Tensor coefficients;
};

// What an optimizer step minimises. Asked on the last pipeline stage, once for every microbatch.
class Objective {
 public:
  virtual ~Objective() = default;
  // The coefficient of every row, where it is the same for all and known before their scores: the
  // head then makes scores and gradients in one pass. Without, it makes scores, and, given the
  // coefficients, logits again and gradients.
  virtual std::optional<double> ConstantCoefficient() const { return std::nullopt; }
  // `microbatch` counts from 0 within the step. Called without a gradient to follow, too (a forward
  // that is not kept), with whatever model the forward ran.
  virtual Losses Evaluate(int microbatch, const Scores& scores) const = 0;
};

// Cross entropy of every target (supervised fine-tuning).
class TokenLoss : public Objective {
 public:
  // scale: 1 / target tokens of the optimizer step.
  explicit TokenLoss(double scale) : scale_(scale) {}
  std::optional<double> ConstantCoefficient() const override { return scale_; }
  Losses Evaluate(int /*microbatch*/, const Scores& scores) const override {
    return {-scores.sum, {}};
  }

 private:
  double scale_;
};

}  // namespace fttrain
