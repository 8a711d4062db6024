// What do NF4 weights cost a layer's linears, forward and backward with adapters, over weights in
// compute dtype, by tokens per pass over the weights? One size of layer: hidden 1024, ffn 2816, 4
// kv heads of 16; LoRA of rank 16 on all seven. "held": dequantised before, as for many
// microbatches.
//   nf4_layer_bench [threads] [bf16|fp32] [tokens ...]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "model/linears/linears.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

constexpr int64_t kHidden = 1024, kFfn = 2816, kKv = 256;

class Layer {
 public:
  Layer(at::ScalarType compute, bool nf4) {
    ParameterForm form = {.compute = compute};
    form.adapter = {.target_modules = {"q", "k", "v", "o", "gate", "up", "down"}};
    if (nf4) form.nf4 = Nf4Options{.rounding = at::kBFloat16};
    const auto add = [&](const std::vector<LinearSpec>& specs) {
      for (const LinearSpec& spec : specs) DeclareLinear(spec, form, {}, set_);
      groups_.emplace_back(specs, form, TensorRank(), set_);
    };
    const auto spec = [](const char* name, int64_t in, int64_t out) {
      return LinearSpec{.name = name, .in = in, .out = out};
    };
    add({spec("q", kHidden, kHidden), spec("k", kHidden, kKv), spec("v", kHidden, kKv)});
    add({spec("o", kHidden, kHidden)});
    add({spec("gate", kHidden, kFfn), spec("up", kHidden, kFfn)});
    add({spec("down", kFfn, kHidden)});
    for (const auto& parameter : set_.all()) {
      parameter->value = AllocateValue(*parameter, at::kCPU);
      if (parameter->packed_bytes > 0) {
        // Any codes do; scales of zero keep the numbers finite, and cost the same.
        parameter->value.narrow(0, 0, parameter->slice.LocalNumel() / 2).random_(0, 256);
      } else {
        parameter->value.normal_(0.0, 0.02);
      }
      if (parameter->trainable) parameter->grad = at::zeros_like(parameter->value);
    }
  }
  void Hold(bool hold) {
    for (Linears& linears : groups_) hold ? linears.Hold() : linears.Release();
  }
  // Forward and backward of all, each group with inputs and gradients of its own.
  void Step(const at::Tensor& wide) const {
    const int64_t ins[] = {kHidden, kHidden, kHidden, kFfn};
    for (size_t i = 0; i < groups_.size(); ++i) {
      const at::Tensor x = wide.narrow(0, 0, wide.size(0) * ins[i] / kFfn).view({-1, ins[i]});
      const std::vector<at::Tensor> y = groups_[i].Forward(x, {});
      at::Tensor dx;
      groups_[i].BackwardParams(y, groups_[i].BackwardInput(y, {}, dx), x, {});
    }
  }

 private:
  ParameterSet set_;
  std::vector<Linears> groups_;
};

// Processor time over threads: other programs disturb it less.
double Now() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return (static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec)) /
         at::get_num_threads();
}

void Run(at::ScalarType compute, const std::vector<int64_t>& sizes) {
  Layer dense(compute, false), nf4(compute, true), held(compute, true);
  held.Hold(true);
  std::printf("%8s %12s %12s %9s %12s %9s\n", "tokens", "dense ms", "nf4 ms", "over", "held ms",
              "over");
  for (const int64_t tokens : sizes) {
    const at::Tensor x = at::randn({tokens * kFfn}, at::kFloat).to(compute);
    std::vector<double> seconds[3];
    for (int repeat = 0; repeat < 8; ++repeat) {
      for (int which = 0; which < 3; ++which) {  // in turns
        const Layer& layer = which == 0 ? dense : which == 1 ? nf4 : held;
        const double start = Now();
        layer.Step(x);
        if (repeat > 0) seconds[which].push_back(Now() - start);
      }
    }
    double median[3];
    for (int which = 0; which < 3; ++which) {
      std::nth_element(seconds[which].begin(), seconds[which].begin() + 3, seconds[which].end());
      median[which] = seconds[which][3];
    }
    std::printf("%8ld %12.1f %12.1f %8.1f%% %12.1f %8.1f%%\n", static_cast<long>(tokens),
                1e3 * median[0], 1e3 * median[1], 100 * (median[1] / median[0] - 1),
                1e3 * median[2], 100 * (median[2] / median[0] - 1));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) {
  fttrain::InstallMemoryLedger();
  const c10::NoGradGuard no_grad;
  at::set_num_threads(argc > 1 ? std::atoi(argv[1]) : 1);
  const bool wide = argc > 2 && std::string(argv[2]) == "fp32";
  std::vector<int64_t> sizes;
  for (int i = 3; i < argc; ++i) sizes.push_back(std::atol(argv[i]));
  if (sizes.empty()) sizes = {512, 1024, 2048, 4096, 8192};
  fttrain::Run(wide ? at::kFloat : at::kBFloat16, sizes);
  return 0;
}
