// One token after another over what is kept gives the rows of attention over the whole document.
#include "model/kernels/decode_attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "model/blocks/key_value_cache.h"
#include "model/kernels/cpu/table.h"
#include "model/kernels/dispatch.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

struct Case {
  std::string name;
  int64_t heads, kv_heads, head_dim, window;
  double soft_cap = 0;
  bool sinks = false;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// Documents of different lengths, as one microbatch.
const std::vector<int32_t> kBounds = {0, 1, 18, 51, 134};

struct Inputs {
  Inputs(const Case& c, at::ScalarType type)
      : q(Randn({kBounds.back(), c.heads, c.head_dim}, type, 1)),
        k(Randn({kBounds.back(), c.kv_heads, c.head_dim}, type, 2)),
        v(Randn({kBounds.back(), c.kv_heads, c.head_dim}, type, 3)) {
    if (c.sinks) sinks = Randn({c.heads}, StatisticsType(type), 4, 2.0);
  }
  at::Tensor q, k, v, sinks;
};

// The last token of every document: what decoding gives, and what attention over all does.
struct LastRows {
  at::Tensor decoded, plain, whole;
};
LastRows LastRowsOf(const Case& c, const Inputs& in) {
  const AttentionOptions options{1.0 / std::sqrt(static_cast<double>(c.head_dim)), c.window,
                                 c.soft_cap, in.sinks};
  std::vector<KeysAndValues> kept;
  std::vector<int64_t> last;
  for (size_t d = 0; d + 1 < kBounds.size(); ++d) {
    const int64_t begin = kBounds[d], tokens = kBounds[d + 1] - begin;
    // With room behind the tokens, as a cache has.
    const auto roomy = [&](const at::Tensor& x) {
      const at::Tensor with = at::full({tokens + 5, x.size(1), x.size(2)}, NAN, x.options());
      with.narrow(0, 0, tokens).copy_(x.narrow(0, begin, tokens));
      return with;
    };
    kept.push_back({roomy(in.k), roomy(in.v), tokens});
    last.push_back(begin + tokens - 1);
  }
  const at::Tensor rows = at::tensor(last, at::kLong).to(in.q.device());
  const at::Tensor q = in.q.index_select(0, rows);
  const SequenceLayout layout = MakeSequenceLayout(kBounds, in.q.device());
  return {DecodeAttention(q, kept, options), PlainDecodeAttention(q, kept, options),
          AttentionForward(in.q, in.k, in.v, layout, options).out.index_select(0, rows)};
}

class Decoding : public testing::TestWithParam<Case> {};

TEST_P(Decoding, EqualsAttentionOverTheWholeDocumentInFloat64) {
  const LastRows rows = LastRowsOf(GetParam(), Inputs(GetParam(), at::kDouble));
  EXPECT_LE(RelativeError(rows.decoded, rows.whole), 1e-10);
  EXPECT_LE(RelativeError(rows.plain, rows.whole), 1e-10);
}

TEST_P(Decoding, IsAsExactAsAttentionInNarrowerTypes) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Inputs narrow(GetParam(), type);
    Inputs wide = narrow;
    for (at::Tensor* each : {&wide.q, &wide.k, &wide.v, &wide.sinks}) {
      if (each->defined()) *each = each->to(at::kDouble);
    }
    const at::Tensor want = LastRowsOf(GetParam(), wide).whole;
    const LastRows rows = LastRowsOf(GetParam(), narrow);
    const double rounding = type == at::kFloat ? 1e-6 : 1.0 / 256;
    EXPECT_LE(RelativeError(rows.decoded, want), rounding) << type;
    EXPECT_LE(RelativeError(rows.plain, want), rounding) << type;
  }
}

TEST_P(Decoding, IsTheSameByEveryInstructionSet) {
  const Case& c = GetParam();
  Inputs in(c, at::kDouble);
  for (at::Tensor* each : {&in.q, &in.k, &in.v, &in.sinks}) {
    if (each->defined()) *each = each->cpu();
  }
  const int64_t length = 33, group = c.heads / c.kv_heads;
  std::vector<at::Tensor> results;
  for (const CpuKernels* kernels : UsableCpuKernels()) {
    const at::Tensor out = at::empty({group, c.head_dim}, at::kDouble);
    const at::Tensor scores = at::empty({group, 48}, at::kDouble);
    kernels->float64.attention_decode(
        {Data<double>(in.q), Data<double>(in.k), Data<double>(in.v), MutableData<double>(out),
         c.kv_heads * c.head_dim, length, group, c.head_dim, 0.3, 0,
         c.sinks ? Data<double>(in.sinks) : nullptr},
        MutableData<double>(scores));
    results.push_back(out);
  }
  for (const at::Tensor& each : results) EXPECT_LE(RelativeError(each, results[0]), 1e-13);
}

INSTANTIATE_TEST_SUITE_P(Shapes, Decoding,
                         testing::Values(Case{"plain", 4, 4, 64, 0}, Case{"grouped", 9, 3, 64, 0},
                                         Case{"odd", 6, 2, 10, 0}, Case{"window", 8, 2, 24, 7},
                                         Case{"wide", 2, 1, 256, 40},
                                         Case{"capped", 4, 2, 24, 0, 1.5},
                                         Case{"sinks", 8, 2, 24, 7, 0, true}),
                         [](const auto& each) { return each.param.name; });

// A document in float64 whose first kPrompt tokens a cache has, and what attention over all gives.
struct Windowed {
  static constexpr int64_t kPrompt = 30;
  explicit Windowed(int64_t w) : window(w) {
    const Inputs in(Case{"", 4, 2, 16, window}, at::kDouble);
    const int64_t begin = kBounds[3];
    tokens = kBounds[4] - begin;
    q = in.q.narrow(0, begin, tokens);
    k = in.k.narrow(0, begin, tokens);
    v = in.v.narrow(0, begin, tokens);
    const SequenceLayout layout = MakeSequenceLayout({0, static_cast<int32_t>(tokens)}, q.device());
    want = AttentionForward(q, k, v, layout, options()).out;
    Append(0, kPrompt);
  }
  AttentionOptions options() const { return {0.25, window}; }
  const KeysAndValues& Append(int64_t from, int64_t count) {
    return cache.Append("layer", k.narrow(0, from, count), v.narrow(0, from, count), window);
  }

  int64_t window, tokens = 0;
  at::Tensor q, k, v, want;
  DocumentCache cache;
};

// Token by token, with what falls out of the window forgotten, as a layer does it.
TEST(DocumentCache, KeepsWhatTheNextTokenSees) {
  for (const int64_t window : {0, 1, 9, 40}) {
    Windowed document(window);
    const int64_t tokens = document.tokens;
    int64_t most = 0;
    for (int64_t t = Windowed::kPrompt; t < tokens; ++t) {
      const KeysAndValues& kept = document.Append(t, 1);
      most = std::max(most, kept.keys.size(0));
      const at::Tensor got = DecodeAttention(document.q.narrow(0, t, 1), kept, document.options());
      ASSERT_LE(RelativeError(got, document.want.narrow(0, t, 1)), 1e-10) << "token " << t;
    }
    EXPECT_LE(most, window == 0 ? tokens * 3 / 2 + 1 : std::max<int64_t>(32, window * 3 / 2 + 1));
  }
}

// As a conversation does: some of the last tokens are others now, and several follow at once.
TEST(DocumentCache, GoesOnFromWhereItIsCut) {
  constexpr int64_t kPrompt = Windowed::kPrompt;
  for (const int64_t window : {0, 1, 9, 40}) {
    Windowed document(window);
    DocumentCache& cache = document.cache;
    const int64_t tokens = document.tokens;
    for (int64_t t = 0; t < 4; ++t) document.Append(kPrompt, 1);  // others, that are forgotten
    ASSERT_TRUE(cache.CutTo(kPrompt));
    EXPECT_FALSE(cache.CutTo(kPrompt + 1));
    if (window == 9) {
      EXPECT_FALSE(cache.CutTo(20));
    }
    const bool cut = cache.CutTo(28);
    EXPECT_EQ(cut, window == 0 || window == 40) << window;
    const int64_t from = cut ? 28 : kPrompt;
    const KeysAndValues& all = document.Append(from, tokens - from);
    for (int64_t t = from; t < tokens; ++t) {
      const KeysAndValues seen{all.keys, all.values, all.tokens - (tokens - 1 - t)};
      const at::Tensor got = DecodeAttention(document.q.narrow(0, t, 1), seen, document.options());
      ASSERT_LE(RelativeError(got, document.want.narrow(0, t, 1)), 1e-10)
          << window << " token " << t;
    }
  }
}

TEST(DocumentCache, IsBookedAsCache) {
  UseMemoryLedger();
  const Inputs in({"", 4, 2, 16, 0}, at::kFloat);
  const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
  {
    DocumentCache cache;
    cache.Append("layer", in.k.narrow(0, 0, 100), in.v.narrow(0, 0, 100), 0);
    EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes - before, 2 * 150 * 2 * 16 * 4);
  }
  EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes, before);
}

}  // namespace
}  // namespace fttrain
