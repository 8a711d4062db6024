// cross_entropy.cu (kernel_fixture.h).
#include <limits>

#include "tests/cuda_on_host/kernel_fixture.h"

namespace fttrain::cuda_on_host {
namespace {

TYPED_TEST_SUITE(CudaKernel, Types, TypeNames);

TYPED_TEST(CudaKernel, CrossEntropyEqualsTheCpus) {
  using T = typename TypeParam::T;
  using S = typename TypeParam::S;
  const int64_t rows = 4;
  for (const int64_t vocab : {1, 5, 8, 64, 1000, 8216}) {
    for (Layout layout : kLayouts) {
      SCOPED_TRACE(std::to_string(vocab) + ", misaligned " + std::to_string(layout.odd));
      const int64_t offset = layout.at_end ? 0 : 1000;
      const std::vector<T> logits = this->Random(rows * vocab, 4.0);
      const std::vector<int64_t> targets = {offset, offset + vocab - 1, offset - 1, offset + vocab};
      const std::vector<double> coefficients = {1.0, 0.5, -2.0, 0.0};
      const double soft_cap = layout.at_end ? 30.0 : 0.0;
      const Guarded<T> logit_buffer("logits", logits, layout.Next());
      const Guarded<int64_t> target_buffer("targets", targets, layout.Next());
      const Guarded<S> stats("stats", std::vector<S>(this->Size(rows * 3), 77), layout.Next());
      cuda::CrossEntropyStats(TypeParam::kDtype, logit_buffer.data(), target_buffer.data(),
                              stats.data(), rows, vocab, offset, nullptr);
      std::vector<double> want = this->Wide(logits), want_stats(this->Size(rows * 3));
      this->cpu_.cross_entropy_stats(want.data(), targets.data(), want_stats.data(), rows, vocab,
                                     offset);
      const std::vector<S> got = stats.Values();
      this->ExpectNear("stats", std::vector<double>(got.begin(), got.end()), want_stats, 0);

      std::vector<double> lse;
      for (int64_t r = 0; r < rows; ++r) {
        const size_t at = this->Size(3 * r);
        lse.push_back(static_cast<S>(want_stats[at] + std::log(want_stats[at + 1])));
      }
      const Guarded<S> lses("lse", this->ToStatistics(lse), layout.Next()),
          weights("coefficients", this->ToStatistics(coefficients), layout.Next());
      cuda::CrossEntropyBackward(TypeParam::kDtype, logit_buffer.data(), lses.data(),
                                 target_buffer.data(), weights.data(), rows, vocab, offset,
                                 soft_cap, nullptr);
      this->cpu_.cross_entropy_backward(want.data(), lse.data(), targets.data(),
                                        coefficients.data(), rows, vocab, offset, soft_cap);
      this->ExpectNear("dlogits", logit_buffer, want, 1);
    }
  }
}

// As masked entries of a vocabulary have: one in five, all of a pack, all but the first.
TYPED_TEST(CudaKernel, CrossEntropyOfLogitsOfMinusInfinityEqualsTheCpus) {
  using T = typename TypeParam::T;
  using S = typename TypeParam::S;
  const int64_t rows = 3, vocab = 200;
  const T lowest = TypeParam::Narrow(-std::numeric_limits<S>::infinity());
  std::vector<T> logits = this->Random(rows * vocab);
  for (int64_t i = 1; i < vocab; ++i) {
    if (i % 5 == 3) logits[this->Size(i)] = lowest;
    if (i >= 160) logits[this->Size(vocab + i)] = lowest;
    logits[this->Size(2 * vocab + i)] = lowest;
  }
  for (Layout layout : {Layout{true, -1}, Layout{true, 0}}) {
    const std::vector<int64_t> targets = {0, 3, 0};
    const Guarded<T> logit_buffer("logits", logits, layout.Next());
    const Guarded<int64_t> target_buffer("targets", targets, layout.Next());
    const Guarded<S> stats("stats", std::vector<S>(this->Size(rows * 3)), layout.Next());
    cuda::CrossEntropyStats(TypeParam::kDtype, logit_buffer.data(), target_buffer.data(),
                            stats.data(), rows, vocab, 0, nullptr);
    std::vector<double> want(this->Size(rows * 3));
    this->cpu_.cross_entropy_stats(this->Wide(logits).data(), targets.data(), want.data(), rows,
                                   vocab, 0);
    const std::vector<S> got = stats.Values();
    this->ExpectNear("stats", std::vector<double>(got.begin(), got.end()), want, 0);
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host
