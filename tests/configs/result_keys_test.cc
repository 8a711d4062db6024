#include "configs/result_keys.h"

#include <gmock/gmock.h>

#include "configs/load_config.h"

namespace fttrain::config {
namespace {

using ::testing::Contains;
using ::testing::IsSupersetOf;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

constexpr char kRun[] =
    "model: {path: m}\n"
    "adapter: {target_modules: [q_proj, v_proj], rank_pattern: {q_proj: 4}}\n"
    "data: {train: [{path: a.jsonl, format: text}, {path: b.jsonl, fields: {text: body}}]}\n"
    "train: {max_steps: 7, save_steps: 2}\n"
    "output_dir: out\n";

std::map<std::string, std::string> KeysWith(const std::vector<std::string>& overrides) {
  return ResultKeys(ParseRunConfig(kRun, "run.yaml", overrides).value().config);
}

TEST(ResultKeys, AreThoseThatDecideWhatIsComputed) {
  EXPECT_THAT(KeysWith({}),
              IsSupersetOf({Pair("train.max_steps", "7"), Pair("train.seed", "42"),
                            Pair("adapter.target_modules", "[q_proj, v_proj]"),
                            Pair("adapter.rank_pattern", "{q_proj: 4}"),
                            Pair("optimizer.learning_rate", "2e-04"),
                            Pair("precision.compute", "bf16"), Pair("schedule.name", "cosine")}));
}

TEST(ResultKeys, DoNotHoldLayoutMemoryAndOutput) {
  for (const char* key : {"parallel.tensor", "memory.recompute", "device", "output_dir",
                          "train.save_steps", "train.resume", "optimizer.device", "model.path"}) {
    EXPECT_THAT(KeysWith({}), Not(Contains(Key(key)))) << key;
  }
  EXPECT_EQ(KeysWith({"parallel.tensor=2", "output_dir=o", "model.path=n", "train.save_steps=9",
                      "data.train.0.path=c", "memory.recompute=full"}),
            KeysWith({}));
}

TEST(ResultKeys, HoldTheRowsOfAMicrobatchWhereRoutersHaveALossOfEach) {
  const std::string key = "train.micro_batch_size", loss = "train.router_aux_loss_coef";
  EXPECT_THAT(KeysWith({}), Not(Contains(Key(loss))));
  EXPECT_THAT(KeysWith({loss + "=0", key + "=3"}), Not(Contains(Key(key))));
  EXPECT_THAT(KeysWith({loss + "=0.5", key + "=3"}),
              IsSupersetOf({Pair(key, "3"), Pair(loss, "0.5")}));
}

TEST(ResultKeys, HoldHowFilesAreReadButNotWhereTheyAre) {
  EXPECT_NE(KeysWith({"data.train.1.fields.text=words"}), KeysWith({}));
  EXPECT_NE(KeysWith({"data.train.0.format=auto"}), KeysWith({}));
}

TEST(ResultKeys, DoNotHoldAListThatDecidesNothing) {
  const auto keys = KeysWith({"data.eval=[{path: held_out.jsonl}]"});
  EXPECT_EQ(keys.count("data.eval"), 0u);
}

TEST(ResultKeys, AKeyMayBeAllowedToChangeThatIsOneOfThem) {
  for (const char* name : {"data", "model", "optimizer.learning_rate", "train.max_steps",
                           "train.micro_batch_size", "adapter.quantization.block_size"}) {
    EXPECT_TRUE(CheckResultKey(name, "train.allow_changed").ok()) << name;
  }
  for (const char* name : {"parallel.tensor", "optimizer", "learning_rate", "", "train.resume"}) {
    EXPECT_FALSE(CheckResultKey(name, "train.allow_changed").ok()) << name;
  }
}

}  // namespace
}  // namespace fttrain::config
