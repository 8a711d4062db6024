// What kernels are told of a model's norms and activations: data that configs, blocks and .cu files
// share.
#pragma once

namespace fttrain {

// y = (x - m) / sqrt(v + eps) * (weight + offset) over a row, v the mean of (x - m)^2.
struct NormForm {
  // RMSNorm as Llama has it.
  NormForm(double epsilon = 1e-6) : eps(epsilon) {}  // NOLINT(google-explicit-constructor)
  double eps;
  bool centered = false;     // LayerNorm: m is the row's mean; else 0
  double offset = 0;         // Gemma: 1
  bool rounds_once = false;  // the quotient meets the weight unrounded; else in x's dtype
};

// Of a gated feed-forward: activation(gate) * up.
enum class Activation {
  kSilu,
  kGeluTanh,
  kClampedSwish,  // gpt-oss: gate sigmoid(alpha gate) (up + 1), gate and up clamped first
};

struct GluForm {
  GluForm(Activation form = Activation::kSilu)  // NOLINT(google-explicit-constructor)
      : activation(form) {}
  Activation activation;
  // Of kClampedSwish: the gate's largest value, and that of up, whose smallest is -limit.
  double limit = 7.0;
  double alpha = 1.702;
};
inline bool operator==(const GluForm& a, const GluForm& b) {
  return a.activation == b.activation && a.limit == b.limit && a.alpha == b.alpha;
}

}  // namespace fttrain
