// The golden files of tests/golden/make_tokenizer_golden.py.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "data/tokenizer/tokenizer.h"
#include "tests/golden_path.h"

namespace fttrain {

inline std::string GoldenText(const std::string& name) {
  std::ifstream in(GoldenPath("data/" + name), std::ios::binary);
  EXPECT_TRUE(in) << name;
  return std::string(std::istreambuf_iterator<char>(in), {});
}

inline nlohmann::json GoldenJson(const std::string& name) {
  return nlohmann::json::parse(GoldenText(name));
}

// `config`: the text of tokenizer_config.json.
inline std::unique_ptr<Tokenizer> GoldenTokenizer(const std::string& name,
                                                  const std::string& config = "") {
  auto tokenizer = Tokenizer::FromJson(GoldenText(name + ".tokenizer.json"), config, name);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

}  // namespace fttrain
