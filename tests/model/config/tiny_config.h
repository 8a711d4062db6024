// A config.json of any family: sizes that all of them have, and what a test adds.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "model/config/model_config.h"
#include "tests/status_text.h"

namespace fttrain {

using Json = nlohmann::json;

inline Json Config(const std::string& model_type, const Json& more = Json::object()) {
  Json config = {{"model_type", model_type}, {"hidden_size", 64},
                 {"intermediate_size", 96},  {"num_hidden_layers", 4},
                 {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                 {"vocab_size", 1000},       {"max_position_embeddings", 512},
                 {"eos_token_id", 2}};
  config.merge_patch(more);
  return config;
}

inline ModelSpec Read(const Json& config) {
  const auto model = ParseModelConfig(config.dump(), "config.json");
  EXPECT_TRUE(model.ok()) << model.status();
  return model.value_or(ModelSpec());
}

inline std::string Complaint(const Json& config) {
  return ErrorText(ParseModelConfig(config.dump(), "config.json"));
}

}  // namespace fttrain
