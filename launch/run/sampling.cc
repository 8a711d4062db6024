#include "launch/run/sampling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "runtime/math/philox.h"

namespace fttrain {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

at::Tensor Penalised(const at::Tensor& scores, absl::Span<const int32_t> before, double penalty) {
  std::vector<int64_t> ids(before.begin(), before.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const at::Tensor there = at::tensor(ids, at::kLong);
  const at::Tensor mine = scores.index_select(0, there);
  return scores.index_copy(0, there, at::where(mine < 0, mine * penalty, mine / penalty));
}

// Also those that are as likely as the last of the k.
at::Tensor Likeliest(const at::Tensor& scores, int64_t k) {
  const at::Tensor least = std::get<0>(scores.topk(std::min(k, scores.size(0)))).select(0, -1);
  return scores.masked_fill(scores < least, kNever);
}

// The fewest whose probabilities sum up to p, and always one.
at::Tensor Nucleus(const at::Tensor& scores, double p) {
  const auto [sorted, order] = scores.sort(/*dim=*/0, /*descending=*/false);
  at::Tensor left_out = sorted.softmax(0).cumsum(0) <= 1 - p;
  left_out.select(0, -1).fill_(false);
  return scores.masked_fill(at::empty_like(left_out).index_copy_(0, order, left_out), kNever);
}

}  // namespace

at::Tensor ProcessedScores(const at::Tensor& logits, absl::Span<const int32_t> before,
                           const Sampling& sampling) {
  at::Tensor scores = logits;
  if (sampling.repetition_penalty != 1) {
    scores = Penalised(scores, before, sampling.repetition_penalty);
  }
  if (sampling.temperature == 0) return scores;
  if (sampling.temperature != 1) scores = scores / sampling.temperature;
  if (sampling.top_k > 0) scores = Likeliest(scores, sampling.top_k);
  if (sampling.top_p < 1) scores = Nucleus(scores, sampling.top_p);
  return scores;
}

int32_t ChooseToken(const at::Tensor& logits, absl::Span<const int32_t> before,
                    const Sampling& sampling, uint64_t prompt) {
  const at::Tensor scores = ProcessedScores(logits, before, sampling);
  if (sampling.temperature == 0) return static_cast<int32_t>(scores.argmax().item<int64_t>());
  const at::Tensor cumulative = at::softmax(scores.to(at::kDouble), 0).cumsum(0).contiguous();
  const double u = UniformFromBits(
      Philox4x32(sampling.seed, prompt << 32 | before.size(), StreamOfName("generate")).x[0]);
  const double* begin = cumulative.data_ptr<double>();
  const double* end = begin + cumulative.numel();
  return static_cast<int32_t>(std::min(std::upper_bound(begin, end, u * end[-1]), end - 1) - begin);
}

}  // namespace fttrain
