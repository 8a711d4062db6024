#include "model/kernels/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "model/kernels/cuda/attention.h"
#include "model/kernels/dispatch.h"
#include "model/kernels/plain_attention.h"
#include "runtime/memory/ledger.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

struct Case {
  std::string name;
  std::vector<int32_t> cu_seqlens;
  int64_t heads, kv_heads, head_dim, window;
  double soft_cap = 0;
  bool sinks = false;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

struct Inputs {
  at::Tensor q, k, v, dout;
  at::Tensor sinks;  // undefined without
};

Inputs MakeInputs(const Case& c, at::ScalarType type) {
  const int64_t tokens = c.cu_seqlens.back();
  return {Randn({tokens, c.heads, c.head_dim}, type, 1),
          Randn({tokens, c.kv_heads, c.head_dim}, type, 2),
          Randn({tokens, c.kv_heads, c.head_dim}, type, 3),
          Randn({tokens, c.heads, c.head_dim}, type, 4),
          c.sinks ? Randn({c.heads}, StatisticsType(type), 5, 2.0) : at::Tensor()};
}

struct Reference {
  at::Tensor out, lse, dq, dk, dv, dsinks;
};

// Plain masked softmax attention over all tokens at once, in `type`; gradients by autograd.
Reference PlainAttention(const Case& c, const Inputs& in, double scale, at::ScalarType type) {
  const auto leaf = [&](const at::Tensor& x) {
    return x.detach().to(at::kCPU, type).clone().requires_grad_(true);
  };
  const at::Tensor q = leaf(in.q), k = leaf(in.k), v = leaf(in.v);
  const int64_t tokens = q.size(0), group = c.heads / c.kv_heads;
  at::Tensor allowed = at::zeros({tokens, tokens}, at::kBool);
  for (size_t d = 0; d + 1 < c.cu_seqlens.size(); ++d) {
    const int64_t length = c.cu_seqlens[d + 1] - c.cu_seqlens[d];
    at::Tensor block = at::ones({length, length}, at::kBool).tril();
    if (c.window > 0) block = block.triu(1 - c.window);
    allowed.narrow(0, c.cu_seqlens[d], length).narrow(1, c.cu_seqlens[d], length).copy_(block);
  }
  const at::Tensor keys = k.repeat_interleave(group, 1).permute({1, 2, 0});
  const at::Tensor values = v.repeat_interleave(group, 1).transpose(0, 1);
  at::Tensor raw = at::matmul(q.transpose(0, 1), keys) * scale;
  if (c.soft_cap > 0) raw = at::tanh(raw / c.soft_cap) * c.soft_cap;
  at::Tensor scores =
      raw.masked_fill(allowed.logical_not(), -std::numeric_limits<double>::infinity());
  const at::Tensor sinks = c.sinks ? leaf(in.sinks) : at::Tensor();
  if (c.sinks) scores = at::cat({scores, sinks.view({-1, 1, 1}).expand({-1, tokens, 1})}, -1);
  const at::Tensor shares = at::softmax(scores, -1).narrow(-1, 0, tokens);
  const at::Tensor out = at::matmul(shares, values).transpose(0, 1);
  out.backward(in.dout.to(at::kCPU, type));
  return {out.detach(), scores.detach().logsumexp(-1),        q.grad(), k.grad(),
          v.grad(),     c.sinks ? sinks.grad() : at::Tensor()};
}

class PackedAttention : public testing::TestWithParam<std::tuple<Case, at::ScalarType>> {
 protected:
  const Case& c() const { return std::get<0>(GetParam()); }
  at::ScalarType type() const { return std::get<1>(GetParam()); }
};

TEST_P(PackedAttention, EqualsMaskedSoftmaxAndItsAutogradGradients) {
  const Inputs in = MakeInputs(c(), type());
  const double scale = 1.0 / std::sqrt(static_cast<double>(c().head_dim));
  const SequenceLayout layout = MakeSequenceLayout(c().cu_seqlens, TestDevice());
  const AttentionOptions options{scale, c().window, c().soft_cap, in.sinks};

  const Reference want = PlainAttention(c(), in, scale, at::kDouble);
  const Reference plain = PlainAttention(c(), in, scale, type());
  const auto expect_near = [&](const std::string& what, const at::Tensor& got,
                               const at::Tensor& exact, const at::Tensor& rounded) {
    // Where plain bf16 happens to be exact (softmax over one key), half a bf16 step remains.
    const double plain_error = std::max(1.5 * RelativeError(rounded, exact), 1.0 / 512);
    EXPECT_LE(RelativeError(got, exact), ErrorBound(type(), plain_error)) << what;
  };
  // Flash attention takes the exponentials that the hardware approximates.
  const double lse_error = type() == at::kDouble ? 1e-12 : TestDevice().is_cuda() ? 1e-5 : 1e-6;
  const auto expect_right = [&](const std::string& way, const auto& run, const auto& run_back) {
    const AttentionResult forward = run(in.q, in.k, in.v, layout, options);
    const AttentionGradients grads = run_back(in.dout, in.q, in.k, in.v, forward, layout, options);
    expect_near(way + " out", forward.out, want.out, plain.out);
    expect_near(way + " dq", grads.dq, want.dq, plain.dq);
    expect_near(way + " dk", grads.dk, want.dk, plain.dk);
    expect_near(way + " dv", grads.dv, want.dv, plain.dv);
    if (c().sinks) {
      const at::Tensor dsinks = SinkGradient(in.dout, forward, in.sinks);
      expect_near(way + " dsinks", dsinks, want.dsinks, plain.dsinks);
      EXPECT_EQ(dsinks.scalar_type(), forward.lse.scalar_type());
    }
    EXPECT_LE(RelativeError(forward.lse, want.lse), lse_error) << way;
    EXPECT_EQ(forward.lse.scalar_type(), type() == at::kDouble ? at::kDouble : at::kFloat);
    EXPECT_EQ(forward.lse.sizes(), (std::vector<int64_t>{c().heads, in.q.size(0)}));
  };
  expect_right("the device's own", AttentionForward, AttentionBackward);
  expect_right("plain", PlainAttentionForward, PlainAttentionBackward);
  if (!c().sinks) return;
  // What flash attention's results go through.
  const auto added = [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const SequenceLayout& documents, AttentionOptions with) {
    const at::Tensor sinks = std::exchange(with.sinks, {});
    AttentionResult result = AttentionForward(q, k, v, documents, with);
    AddSinks(sinks, result);
    return result;
  };
  expect_right("added", added, AttentionBackward);
}

std::vector<Case> Cases() {
  return {{"OneDocument", {0, 33}, 2, 2, 16, 0},
          {"DocumentsOfLengthOne", {0, 1, 2, 3}, 2, 1, 8, 0},
          {"UnevenDocumentsAndGroups", {0, 5, 70, 71, 200}, 6, 2, 24, 0},
          {"OneKvHead", {0, 130, 131}, 4, 1, 64, 0},
          {"HeadDim128", {0, 70, 161}, 2, 1, 128, 0},
          {"OddHeadDim", {0, 40}, 3, 3, 5, 0},
          {"WindowOfOneToken", {0, 9, 20}, 2, 1, 16, 1},
          {"WindowInsideABlock", {0, 100, 177}, 4, 2, 16, 7},
          {"WindowOverBlocks", {0, 300}, 4, 2, 32, 100},
          {"WindowLongerThanDocuments", {0, 20, 50}, 2, 2, 16, 64},
          {"SoftCap", {0, 9, 140}, 4, 2, 24, 0, 1.5},
          {"SoftCapAndWindowHeadDim256", {0, 70, 161}, 2, 1, 256, 30, 2.0},
          {"Sinks", {0, 1, 40, 171}, 4, 2, 24, 0, 0, true},
          {"SinksAndWindow", {0, 100, 177}, 8, 2, 64, 12, 0, true}};
}

std::string CaseName(const testing::TestParamInfo<PackedAttention::ParamType>& info) {
  return std::get<0>(info.param).name + "_" + c10::toString(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Documents, PackedAttention,
                         testing::Combine(testing::ValuesIn(Cases()),
                                          testing::Values(at::kDouble, at::kFloat, at::kBFloat16)),
                         CaseName);

struct Geometry {
  std::vector<int32_t> cu_seqlens;
  int64_t heads, kv_heads, head_dim, window;
  at::ScalarType type;
  double soft_cap = 0;
};

class AttentionMemory : public testing::TestWithParam<Geometry> {
 protected:
  static void SetUpTestSuite() { UseMemoryLedger(); }
  void SetUp() override {
    const Geometry& g = GetParam();
    layout_ = MakeSequenceLayout(g.cu_seqlens, TestDevice());
    shape_ = {.tokens = layout_.tokens(),
              .documents = layout_.documents(),
              .longest = layout_.max_document_tokens,
              .heads = g.heads,
              .kv_heads = g.kv_heads,
              .head_dim = g.head_dim,
              .window = g.window,
              .capped = g.soft_cap > 0,
              .type = g.type};
    q_ = Randn({shape_.tokens, g.heads, g.head_dim}, g.type, 1);
    k_ = Randn({shape_.tokens, g.kv_heads, g.head_dim}, g.type, 2);
  }
  // What a backward allocates at once beside its results.
  template <class Forward, class Backward>
  int64_t PeakOf(const Forward& forward, const Backward& backward) const {
    const AttentionOptions options{0.25, GetParam().window, GetParam().soft_cap};
    const AttentionResult result = forward(q_, k_, k_, layout_, options);
    ResetMemoryPeaks();
    const int64_t before = TotalMemory().current_bytes;
    const AttentionGradients grads = backward(q_, q_, k_, k_, result, layout_, options);
    const auto results = static_cast<int64_t>(grads.dq.nbytes() + 2 * grads.dk.nbytes());
    return TotalMemory().peak_bytes - before - results;
  }
  SequenceLayout layout_;
  AttentionShape shape_;
  at::Tensor q_, k_;
};

TEST_P(AttentionMemory, IsWhatIsCounted) {
  const int64_t peak = PeakOf(PlainAttentionForward, PlainAttentionBackward);
  const int64_t workspace = PlainAttentionWorkspace(shape_);
  EXPECT_LE(peak, workspace);
  EXPECT_GT(static_cast<double>(peak), 0.9 * static_cast<double>(workspace));
  if (!TestDevice().is_cuda() || !PlainAttentionReason(shape_).empty()) return;
  EXPECT_EQ(PeakOf(AttentionForward, AttentionBackward), FlashAttentionWorkspace(shape_, false));
}

INSTANTIATE_TEST_SUITE_P(Geometries, AttentionMemory,
                         testing::Values(Geometry{{0, 300, 700}, 4, 2, 16, 0, at::kFloat},
                                         Geometry{{0, 300, 700}, 4, 2, 12, 0, at::kBFloat16},
                                         Geometry{{0, 512}, 8, 1, 64, 0, at::kFloat},
                                         Geometry{{0, 50, 90}, 2, 2, 256, 0, at::kDouble},
                                         Geometry{{0, 50, 90}, 6, 2, 256, 0, at::kBFloat16},
                                         Geometry{{0, 600, 650}, 4, 4, 32, 100, at::kFloat},
                                         Geometry{{0, 300, 700}, 4, 2, 64, 0, at::kBFloat16, 50.0},
                                         Geometry{{0, 600, 650}, 4, 4, 32, 100, at::kFloat, 50.0},
                                         Geometry{{0, 3, 9}, 1, 1, 8, 0, at::kFloat}));

TEST(FlashAttentionWorkspace, IsTheSumOfWhatItsBackwardAllocates) {
  AttentionShape shape{.tokens = 4096,
                       .documents = 1,
                       .longest = 4096,
                       .heads = 32,
                       .kv_heads = 8,
                       .head_dim = 128,
                       .type = at::kBFloat16};
  const auto bytes = [&](bool deterministic = false) {
    return FlashAttentionWorkspace(shape, deterministic, /*multiprocessors=*/132);
  };
  const int64_t shared = 2 * int64_t{4096} * 32 * 128 * 2, state = 16;
  EXPECT_EQ(bytes(), int64_t{4224} * 32 * (128 + 1) * 4 + shared + state);
  EXPECT_EQ(bytes(true), int64_t{4224} * 32 * (5 * 128 + 1) * 4 + shared + state);
  shape.documents = 1000;
  EXPECT_EQ(bytes(), int64_t{132096} * 32 * (128 + 1) * 4 + shared + state);
  EXPECT_EQ(bytes(true), bytes());
  shape.documents = 1;
  shape.kv_heads = 32;
  EXPECT_EQ(bytes(), int64_t{4224} * 32 * (128 + 1) * 4 + state) << "dk and dv are the results";
  const std::pair<int64_t, int64_t> rounded[] = {{64, 64},   {72, 96},   {80, 96},   {96, 96},
                                                 {136, 192}, {192, 192}, {200, 256}, {256, 256}};
  for (const auto& [dim, to] : rounded) {
    shape.head_dim = dim;
    EXPECT_EQ(bytes(), int64_t{4224} * 32 * (to + 1) * 4 + state) << dim;
  }
}

TEST(CudaAttentionWorkspace, IsThatOfTheWayThatTheTypeAndHeadsTake) {
  AttentionShape shape{.tokens = 64,
                       .longest = 64,
                       .heads = 4,
                       .kv_heads = 2,
                       .head_dim = 64,
                       .type = at::kBFloat16};
  const auto bytes = [&] { return CudaAttentionWorkspace(shape, false); };
  EXPECT_EQ(bytes(), FlashAttentionWorkspace(shape, false));
  for (const int64_t dim : {60, 264}) {
    shape.head_dim = dim;
    EXPECT_EQ(bytes(), PlainAttentionWorkspace(shape)) << dim;
  }
  shape.head_dim = 64;
  shape.capped = true;
  EXPECT_EQ(bytes(), PlainAttentionWorkspace(shape));
  shape.capped = false;
  shape.type = at::kFloat;
  EXPECT_EQ(bytes(), PlainAttentionWorkspace(shape));
}

TEST(Attention, RefusesShapesThatDoNotFitTogether) {
  const SequenceLayout layout = MakeSequenceLayout({0, 4}, at::kCPU);
  const at::Tensor q = at::zeros({4, 3, 8}), kv = at::zeros({4, 2, 8}), good = at::zeros({4, 3, 8});
  EXPECT_THROW(AttentionForward(q, kv, kv, layout, {1.0, 0}), c10::Error);
  EXPECT_THROW(AttentionForward(q, good.narrow(0, 0, 3), good.narrow(0, 0, 3), layout, {1.0, 0}),
               c10::Error);
  EXPECT_THROW(AttentionForward(q, good, good.to(at::kDouble), layout, {1.0, 0}), c10::Error);
}

}  // namespace
}  // namespace fttrain
