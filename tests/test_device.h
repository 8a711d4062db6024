// Device and random inputs of the kernel tests. The same executable runs under label unit on the
// CPU and, with FTTRAIN_TEST_DEVICE=cuda, under label gpu.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "runtime/memory/cuda_ledger.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

inline c10::Device TestDevice() {
  const char* name = std::getenv("FTTRAIN_TEST_DEVICE");
  return c10::Device(name == nullptr ? "cpu" : name);
}

// The ledger counts TestDevice()'s memory from here on.
inline void UseMemoryLedger() {
  InstallMemoryLedger();
  if (TestDevice().is_cpu()) return;
  at::empty({1}, at::TensorOptions(TestDevice()));
  CountCudaMemory();
}

// Normal values, drawn on the CPU in float64 and then rounded, so that every dtype and device sees
// the same.
inline at::Tensor Randn(at::IntArrayRef shape, at::ScalarType type, uint64_t seed,
                        double scale = 1.0) {
  auto generator = at::detail::createCPUGenerator(seed);
  return (at::randn(shape, generator, at::kDouble) * scale).to(type).to(TestDevice());
}

inline at::Tensor Wide(const at::Tensor& x) { return x.detach().to(at::kCPU, at::kDouble); }

// |got - want| / |want| in the Frobenius norm; relative to entries of 1 where the exact result is
// zero.
inline double RelativeError(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor w = Wide(want);
  const double norm = w.norm().item<double>(), unit = std::sqrt(static_cast<double>(w.numel()));
  return (Wide(got) - w).norm().item<double>() / (norm > 1e-12 * unit ? norm : unit);
}

// Bound on RelativeError for a result of dtype `type`: float64 and float32 to a few roundings; for
// bfloat16 and float16 what the plain formula, evaluated in that dtype, itself loses (`plain`).
inline double ErrorBound(at::ScalarType type, double plain) {
  if (type == at::kDouble) return 1e-12;
  if (type == at::kFloat) return 1e-6;
  return 1.05 * plain;
}

}  // namespace fttrain
