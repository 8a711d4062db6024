// The choice of tokens: scores against transformers' logits processors
// (tests/golden/sampling.json).
#include "launch/run/sampling.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/golden_path.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

Sampling SamplingOf(const Json& settings) {
  return {.temperature = settings.at("temperature"),
          .top_k = settings.value("top_k", int64_t{0}),
          .top_p = settings.value("top_p", 1.0),
          .repetition_penalty = settings.value("repetition_penalty", 1.0)};
}

TEST(SamplingGolden, ScoresAreTransformers) {
  std::ifstream file(GoldenPath("sampling.json"));
  const Json golden = Json::parse(file);
  ASSERT_GT(golden.at("cases").size(), 40);
  for (const Json& each : golden.at("cases")) {
    SCOPED_TRACE(each.at("settings").dump());
    const auto before = each.at("before").get<std::vector<int32_t>>();
    const at::Tensor logits = at::tensor(each.at("logits").get<std::vector<float>>());
    const at::Tensor got = ProcessedScores(logits, before, SamplingOf(each.at("settings")));
    const Json& want = each.at("scores");
    for (size_t i = 0; i < want.size(); ++i) {
      const double score = got[static_cast<int64_t>(i)].item<double>();
      if (want[i].is_null()) {
        EXPECT_EQ(score, -std::numeric_limits<double>::infinity()) << i;
      } else {
        EXPECT_NEAR(score, want[i].get<double>(), 1e-6 * (1 + std::abs(score))) << i;
      }
    }
  }
}

TEST(Sampling, TakesTheLikeliestAndOfEqualOnesTheFirst) {
  const std::vector<int32_t> before = {0, 2};
  const at::Tensor logits = at::tensor({1.0f, 3.0f, 0.5f, 3.0f});
  EXPECT_EQ(ChooseToken(logits, before, {}, 0), 1);
  EXPECT_EQ(
      ChooseToken(at::tensor({4.0f, 3.5f, 1.0f, 0.0f}), before, {0, 0, 1, /*repetition_penalty=*/1.5}, 0), 1);
}

TEST(Sampling, DrawsAsOftenAsProbabilitiesSay) {
  const at::Tensor logits = at::tensor({0.0f, std::log(2.0f), std::log(5.0f), -100.0f});
  std::map<int32_t, int> drawn;
  constexpr int kDraws = 8000;
  for (int i = 0; i < kDraws; ++i) {
    const std::vector<int32_t> before(static_cast<size_t>(1 + i % 80), 0);
    ++drawn[ChooseToken(logits, before, {.temperature = 1, .seed = 5},
                        static_cast<uint64_t>(i / 80))];
  }
  EXPECT_NEAR(drawn[0], kDraws / 8.0, 130);
  EXPECT_NEAR(drawn[1], kDraws / 4.0, 160);
  EXPECT_NEAR(drawn[2], kDraws / 8.0 * 5, 180);
  EXPECT_EQ(drawn[3], 0);
}

TEST(Sampling, ADrawIsOfItsSeedPromptAndPlace) {
  const at::Tensor logits = at::zeros({1000});
  const auto draw = [&](uint64_t seed, uint64_t prompt, size_t before) {
    return ChooseToken(logits, std::vector<int32_t>(before, 1), {.temperature = 1, .seed = seed},
                       prompt);
  };
  EXPECT_EQ(draw(1, 2, 3), draw(1, 2, 3));
  EXPECT_NE(draw(1, 2, 3), draw(2, 2, 3));
  EXPECT_NE(draw(1, 2, 3), draw(1, 3, 3));
  EXPECT_NE(draw(1, 2, 3), draw(1, 2, 4));
}

}  // namespace
}  // namespace fttrain
