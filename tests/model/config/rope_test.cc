// Rotary settings of config.json: against transformers (tests/golden/rope.json), in the shapes that
// files have them, and what of them is refused or noted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "model/config/model_config.h"
#include "tests/golden_path.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

const Json kYarn = {
    {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};

Json With(Json object, const Json& keys) {
  object.update(keys);
  return object;
}

Json Base(const std::string& family) {
  return {{"model_type", family},     {"hidden_size", 64},
          {"intermediate_size", 96},  {"num_hidden_layers", 3},
          {"num_attention_heads", 4}, {"num_key_value_heads", 4},
          {"vocab_size", 300},        {"max_position_embeddings", 256}};
}

absl::StatusOr<ModelSpec> Read(const Json& json) {
  return ParseModelConfig(json.dump(), "m/config.json");
}

RopeSpec RopeOf(const Json& json) {
  const absl::StatusOr<ModelSpec> model = Read(json);
  EXPECT_TRUE(model.ok()) << model.status() << json;
  return model.ok() ? model->ropes.at(0) : RopeSpec();
}

std::vector<std::string> NotesOf(const Json& json) {
  const absl::StatusOr<ModelSpec> model = Read(json);
  EXPECT_TRUE(model.ok()) << model.status() << json;
  return model.value_or(ModelSpec()).notes;
}

TEST(RopeGolden, FrequenciesAndFactorAreTransformers) {
  std::ifstream file(GoldenPath("rope.json"));
  const Json golden = Json::parse(file);
  ASSERT_GT(golden.at("cases").size(), 20);
  for (const Json& each : golden.at("cases")) {
    SCOPED_TRACE(each.at("name"));
    const RopeSpec rope = RopeOf(With(golden.at("base"), each.at("keys")));
    EXPECT_NEAR(rope.attention_factor, each.at("attention_factor").get<double>(), 1e-12);
    const std::vector<double> got = RopeInverseFrequencies(rope);
    const Json& want = each.at("frequencies");
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      // transformers' are float32, and so is the power that they are made of.
      const double value = want[i].get<double>();
      EXPECT_NEAR(got[i], value, 2e-6 * value) << i;
    }
  }
}

TEST(RopeKeys, SettingsByLayerTypeCountForTheTypesThatTheModelHas) {
  const Json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  const Json full_alone = {{"rope_theta", 3000.0},
                           {"rope_parameters", {{"full_attention", kYarn}}}};
  const Json both = {
      {"rope_parameters", {{"full_attention", kYarn}, {"sliding_attention", linear}}}};
  for (const char* family : {"llama", "qwen3"}) {
    const RopeSpec rope = RopeOf(With(Base(family), full_alone));
    EXPECT_EQ(rope.type, RopeType::kYarn);
    EXPECT_EQ(rope.theta, 3000.0) << "from outside";
    EXPECT_EQ(RopeOf(With(Base(family), both)).type, RopeType::kYarn);
  }
  // Windows in every layer, and in one of three.
  Json mistral = With(Base("mistral"), {{"sliding_window", 16}});
  EXPECT_EQ(RopeOf(With(mistral, both)).type, RopeType::kLinear);
  Json qwen =
      With(Base("qwen2"),
           {{"use_sliding_window", true}, {"sliding_window", 16}, {"max_window_layers", 2}});
  EXPECT_THAT(Read(With(qwen, both)),
              IsError(absl::StatusCode::kInvalidArgument,
                      "m/config.json: 'rope_parameters' differs between full_attention and "
                      "sliding_attention layers"));
  const Json equal = {
      {"rope_parameters", {{"full_attention", kYarn}, {"sliding_attention", kYarn}}}};
  EXPECT_EQ(RopeOf(With(qwen, equal)).type, RopeType::kYarn);
  EXPECT_THAT(
      Read(With(qwen, full_alone)),
      IsError(absl::StatusCode::kInvalidArgument,
              "'rope_parameters' has no settings for the model's sliding_attention layers"));
}

TEST(RopeKeys, RefusesByFileAndKey) {
  const Json llama = Base("llama");
  const auto scaling = [&](const Json& keys) { return With(llama, {{"rope_scaling", keys}}); };
  const Json nested_longrope = {{"full_attention", {{"rope_type", "longrope"}}}};
  const std::pair<Json, const char*> cases[] = {
      {scaling({{"rope_type", "longrope"}, {"short_factor", {1.0}}}),
       "m/config.json: rope_scaling: 'rope_type' 'longrope' is not supported (default, linear, "
       "dynamic, llama3, yarn are)"},
      {scaling({{"type", "su"}}), "rope_scaling: 'type' 'su' is not supported"},
      {scaling({{"rope_type", "proportional"}}), "'proportional' is not supported"},
      {scaling({{"rope_type", 3}}), "'rope_type' must be text"},
      {scaling({{"rope_type", "dynamic"}}), "rope_scaling: 'factor' is missing"},
      {scaling({{"rope_type", "yarn"}}), "rope_scaling: 'factor' is missing"},
      {scaling(With(kYarn, {{"beta_fast", "32"}})), "'beta_fast' is \"32\", must be a positive"},
      {scaling(With(kYarn, {{"mscale", -1}})), "'mscale' is -1"},
      {scaling(With(kYarn, {{"attention_factor", 0}})), "'attention_factor' is 0"},
      {scaling(With(kYarn, {{"beta_fast", 1}, {"beta_slow", 8}})), "'beta_fast' must not be below"},
      {scaling(With(kYarn, {{"truncate", 1}})), "'truncate' must be true or false"},
      {scaling(With(kYarn, {{"rope_theta", 1}})), "'rope_theta' must exceed 1"},
      {scaling(With(kYarn, {{"partial_rotary_factor", 0.5}})),
       "rope_scaling: 'partial_rotary_factor' other than 1"},
      {scaling(With(kYarn, {{"original_max_position_embeddings", 64.5}})),
       "'original_max_position_embeddings' must be an integer"},
      {With(scaling(kYarn), {{"rope_parameters", With(kYarn, {{"factor", 5}})}}),
       "'rope_parameters' contradicts 'rope_scaling'"},
      {With(llama, {{"rope_parameters", nested_longrope}}),
       "rope_parameters.full_attention: 'rope_type' 'longrope'"},
      {With(llama, {{"rope_parameters", {{"full_attention", nullptr}}}}),
       "no settings for the model's full_attention layers"},
  };
  for (const auto& [json, complaint] : cases) {
    EXPECT_THAT(Read(json), IsError(absl::StatusCode::kInvalidArgument, complaint)) << json;
  }
}

TEST(RopeKeys, WhatNobodyReadsIsNotedOnce) {
  const Json llama = Base("llama");
  EXPECT_THAT(NotesOf(With(llama, {{"rope_scaling", kYarn}})), IsEmpty());
  EXPECT_THAT(NotesOf(With(llama, {{"rope_scaling", With(kYarn, {{"attn_factor", 1.5}})}})),
              ElementsAre("m/config.json: rope_scaling: 'attn_factor' is not read with rope_type "
                          "yarn, nor by transformers"));
  EXPECT_THAT(NotesOf(With(llama, {{"rope_scaling", With(kYarn, {{"attn_factor", nullptr}})}})),
              IsEmpty());
  EXPECT_THAT(NotesOf(With(llama, {{"rope_scaling", With(kYarn, {{"type", "yarn"}})}})), IsEmpty());
  EXPECT_THAT(NotesOf(With(llama, {{"rope_scaling", With(kYarn, {{"type", "linear"}})}})),
              ElementsAre(HasSubstr("'type' is not read")));
  const Json outside = {{"rope_scaling", kYarn}, {"original_max_position_embeddings", 32}};
  EXPECT_THAT(NotesOf(With(llama, outside)),
              ElementsAre(HasSubstr("'original_max_position_embeddings' is not read")));
  EXPECT_EQ(RopeOf(With(llama, outside)).original_max_position_embeddings, 32);
  const Json beside = {{"rope_parameters", {{"full_attention", kYarn}, {"rope_theta", 5.0}}}};
  EXPECT_THAT(NotesOf(With(llama, beside)),
              ElementsAre("m/config.json: rope_parameters: 'rope_theta' beside settings by layer "
                          "type is not read"));
}

TEST(RopeKeys, TwoSpellingsThatAgreeAreOne) {
  const Json both = {{"rope_theta", 9000.0},
                     {"rope_scaling", kYarn},
                     {"rope_parameters", With(kYarn, {{"rope_theta", 9000.0}})}};
  EXPECT_EQ(RopeOf(With(Base("llama"), both)).theta, 9000.0);
}

}  // namespace
}  // namespace fttrain
