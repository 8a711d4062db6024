// Element arithmetic shared by the CPU loops and the CUDA kernels. Each function is a template over
// V: float or double on either side, a SIMD vector of them on the CPU (kernels/cpu/vector_impl.h).
// Plain C++17, branch-free, no headers of ATen, so that the CPU's unit tests cover what the .cu
// files compute.
#pragma once

#include <cstdint>
#include <cstring>

#include "runtime/math/bf16.h"
#include "runtime/math/host_device.h"

namespace fttrain {

// Scalar type and bit operations of V; specialised for vectors in kernels/cpu/isa_impl.h.
template <class V>
struct Element;

template <>
struct Element<float> {
  using Scalar = float;
  using Bits = uint32_t;
  static FT_HOST_DEVICE Bits ToBits(float x) {
    Bits bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
  }
  static FT_HOST_DEVICE float FromBits(Bits bits) {
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
  }
};

template <>
struct Element<double> {
  using Scalar = double;
  using Bits = uint64_t;
  static FT_HOST_DEVICE Bits ToBits(double x) {
    Bits bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits;
  }
  static FT_HOST_DEVICE double FromBits(Bits bits) {
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
  }
};

// e^r - 1 on |r| <= ln(2)/2: r + r^2 q(r), q interpolating at Chebyshev nodes.
template <class V>
FT_HOST_DEVICE V Expm1Reduced(V r, float) {
  V q = r * 1.98909882e-4f + 1.39336474e-3f;
  q = q * r + 8.33331048e-3f;
  q = q * r + 4.16664667e-2f;
  q = q * r + 1.66666672e-1f;
  q = q * r + 0.5f;
  return (q * r) * r + r;
}
template <class V>
FT_HOST_DEVICE V Expm1Reduced(V r, double) {
  V q = r * 1.6086626642965137e-10 + 2.0918135766484712e-09;
  q = q * r + 2.5052071097844777e-08;
  q = q * r + 2.755726328441651e-07;
  q = q * r + 2.755731924721541e-06;
  q = q * r + 2.480158733643726e-05;
  q = q * r + 1.98412698412633e-04;
  q = q * r + 1.3888888888879075e-03;
  q = q * r + 8.333333333333333e-03;
  q = q * r + 4.166666666666668e-02;
  q = q * r + 1.6666666666666666e-01;
  q = q * r + 0.5;
  return (q * r) * r + r;
}

// Constants of the range reduction x = n ln(2) + r. kRound pushes the fraction out of the
// significand, so that adding it rounds to an integer and leaves n in the low bits; n * kLn2High is
// exact.
template <class Scalar>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float kLog2e = 1.44269504f, kRound = 12582912.0f;
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kMin = -87.336544f, kMax = 88.722839f;
  static constexpr float kLargest = 3.4028235e38f;
  static constexpr int kSignificandBits = 23;
};
template <>
struct ExpConstants<double> {
  static constexpr double kLog2e = 1.4426950408889634, kRound = 6755399441055744.0;
  static constexpr double kLn2High = 0.69314718036912381649, kLn2Low = 1.9082149292705877e-10;
  static constexpr double kMin = -708.39641853226408, kMax = 709.78271289338397;
  static constexpr double kLargest = 1.7976931348623157e308;
  static constexpr int kSignificandBits = 52;
};

// e^x to about one unit in the last place; 0 below the smallest normal result, infinity above the
// largest finite one, NaN for NaN.
template <class V>
FT_HOST_DEVICE V Exp(V x) {
  using Scalar = typename Element<V>::Scalar;
  using K = ExpConstants<Scalar>;
  const V shifted = x * K::kLog2e + K::kRound;
  const V n = shifted - K::kRound;
  const V r = (x - n * K::kLn2High) - n * K::kLn2Low;
  const V reduced = Expm1Reduced(r, Scalar(0)) + Scalar(1);
  const V power = Element<V>::FromBits(Element<V>::ToBits(reduced) +
                                       (Element<V>::ToBits(shifted) << K::kSignificandBits));
  const V finite_or_nan = x <= K::kMax ? power : x * K::kLargest;
  return x < K::kMin ? V() : finite_or_nan;
}

template <class V>
FT_HOST_DEVICE V Sigmoid(V x) {
  using Scalar = typename Element<V>::Scalar;
  return Scalar(1) / (Scalar(1) + Exp(-x));
}

// To about two units in the last place, near 0 too: (e^2x - 1) / (e^2x + 1), and e^2x - 1 with 2x =
// n ln(2) + r is 2^n (e^r - 1) + (2^n - 1).
template <class V>
FT_HOST_DEVICE V Tanh(V x) {
  using Scalar = typename Element<V>::Scalar;
  using K = ExpConstants<Scalar>;
  const Scalar limit = Scalar(40);  // 1 beyond, in either type
  V twice = x + x;
  twice = twice > limit ? V() + limit : twice;
  twice = twice < -limit ? V() - limit : twice;
  const V shifted = twice * K::kLog2e + K::kRound;
  const V n = shifted - K::kRound;
  const V r = (twice - n * K::kLn2High) - n * K::kLn2Low;
  const V power = Element<V>::FromBits(Element<V>::ToBits(V() + Scalar(1)) +
                                       (Element<V>::ToBits(shifted) << K::kSignificandBits));
  const V less_one = power * Expm1Reduced(r, Scalar(0)) + (power - Scalar(1));
  return less_one / (less_one + Scalar(2));
}

// cap tanh(x / cap), and its derivative where it is y.
template <class V, class Scalar>
FT_HOST_DEVICE V SoftCap(V x, Scalar cap) {
  return Tanh<V>(x / cap) * cap;
}
template <class V, class Scalar>
FT_HOST_DEVICE V SoftCapDerivative(V y, Scalar cap) {
  const V share = y / cap;
  return Scalar(1) - share * share;
}

// Gated feed-forward: gate sigmoid(g(gate)) up. SwiGLU has g(x) = x; GeGLU, with the tanh form of
// GELU, g(x) = sqrt(8 / pi) (x + 0.044715 x^3).
struct SiluGate {
  template <class V>
  static FT_HOST_DEVICE V Argument(V x) {
    return x;
  }
  template <class V>
  static FT_HOST_DEVICE V Derivative(V sigmoid, V activation, V /*x*/) {
    using Scalar = typename Element<V>::Scalar;
    return sigmoid + activation * (Scalar(1) - sigmoid);
  }
};
struct GeluTanhGate {
  static constexpr double kScale = 1.5957691216057308, kCubic = 0.044715;
  template <class V>
  static FT_HOST_DEVICE V Argument(V x) {
    using Scalar = typename Element<V>::Scalar;
    return (x * x * Scalar(kCubic) + Scalar(1)) * x * Scalar(kScale);
  }
  template <class V>
  static FT_HOST_DEVICE V Derivative(V sigmoid, V activation, V x) {
    using Scalar = typename Element<V>::Scalar;
    const V slope = (x * x * Scalar(3 * kCubic) + Scalar(1)) * Scalar(kScale);
    return sigmoid + activation * (Scalar(1) - sigmoid) * slope;
  }
};
template <class Gate, class V>
FT_HOST_DEVICE V Glu(V gate, V up) {
  return gate * Sigmoid(Gate::Argument(gate)) * up;
}
// What is not above the limit, and what is within it on both sides; NaN stays.
template <class V, class Scalar>
FT_HOST_DEVICE V AtMost(V x, Scalar limit) {
  return x > limit ? V() + limit : x;
}
template <class V, class Scalar>
FT_HOST_DEVICE V Within(V x, Scalar limit) {
  const V below = AtMost(x, limit);
  return below < -limit ? V() - limit : below;
}
// gpt-oss's, gate sigmoid(alpha gate) (up + 1) of what is clamped.
template <class V, class Scalar>
FT_HOST_DEVICE V ClampedGlu(V gate, V up, Scalar limit, Scalar alpha) {
  const V g = AtMost(gate, limit);
  return g * Sigmoid<V>(g * alpha) * (Within(up, limit) + Scalar(1));
}

template <class V>
struct GluGradient {
  V dgate, dup, hidden;
};
template <class Gate, class V>
FT_HOST_DEVICE GluGradient<V> GluBackward(V dhidden, V gate, V up) {
  const V sigmoid = Sigmoid(Gate::Argument(gate)), activation = gate * sigmoid;
  return {dhidden * up * Gate::Derivative(sigmoid, activation, gate), dhidden * activation,
          activation * up};
}

// As torch.clamp has it, an element at its limit has a gradient, one beyond has none.
template <class V, class Scalar>
FT_HOST_DEVICE GluGradient<V> ClampedGluBackward(V dhidden, V gate, V up, Scalar limit,
                                                 Scalar alpha) {
  const V g = AtMost(gate, limit), u = Within(up, limit) + Scalar(1);
  const V sigmoid = Sigmoid<V>(g * alpha), activation = g * sigmoid;
  const V dgate = dhidden * u * (sigmoid + activation * (Scalar(1) - sigmoid) * alpha);
  const V dup = dhidden * activation;
  const V above = up > limit ? V() : dup;
  return {gate > limit ? V() : dgate, up < -limit ? V() : above, activation * u};
}

// One pair of the rotate-half layout, turned by the angle whose cosine and sine are given.
template <class V>
FT_HOST_DEVICE void RotatePair(V& first, V& second, V cosine, V sine) {
  const V rotated = first * cosine - second * sine;
  second = second * cosine + first * sine;
  first = rotated;
}

// Gradient of coefficient * (log-sum-exp of a row - the target's logit) by one logit; `target` is 1
// for the target's, else 0.
template <class V, class Scalar>
FT_HOST_DEVICE V CrossEntropyGradient(V logit, Scalar lse, Scalar target, Scalar coefficient) {
  return (Exp(logit - lse) - target) * coefficient;
}

// dx of y = w * x * rstd, rstd = (mean(x^2) + eps)^-1/2; mean_gx = mean(dy * w * x) * rstd^2 over
// the row. Of LayerNorm x is less its mean; mean_g = mean(dy * w), else 0. The product dy * w, by
// far the larger one, must meet its subtrahend alone, so that a fused multiply-add takes it
// unrounded.
template <class V, class Scalar>
FT_HOST_DEVICE V NormInputGradient(V dy, V weight, V x, Scalar rstd, Scalar mean_gx,
                                   Scalar mean_g) {
  return (dy * weight - (x * mean_gx + mean_g)) * rstd;
}

}  // namespace fttrain
