#include "model/config/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

class GenerationConfig : public testing::Test {
 protected:
  GenerationConfig() { base_.Write("config.json", R"({"eos_token_id": 2, "hidden_size": 8})"); }
  void BaseSays(std::string_view text) { base_.Write("generation_config.json", text); }
  std::string With(const std::vector<int64_t>& ids, std::optional<int64_t> eos = {}) const {
    const absl::StatusOr<std::string> text = GenerationConfigWith(base_.path(), ids, eos);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.value_or("null");
  }
  Json Ends(const std::vector<int64_t>& ids, std::optional<int64_t> eos = {}) const {
    return Json::parse(With(ids, eos))["eos_token_id"];
  }
  const TempFolder base_;
};

TEST_F(GenerationConfig, IsTheBasesToTheByteWhereItNamesTheIds) {
  for (const std::string text :
       {"{ \"eos_token_id\":[ 7,9 ],\n\t\"temperature\": 0.60 }", "{\"eos_token_id\": 9}\n\n"}) {
    BaseSays(text);
    EXPECT_EQ(With({9}), text);
  }
}

TEST_F(GenerationConfig, GainsTheIdBehindTheBasesAndKeepsEveryOtherKeyInItsPlace) {
  BaseSays(R"({"temperature": 0.6, "eos_token_id": 7, "do_sample": true, "stop": ["a", null]})");
  EXPECT_EQ(Json::parse(With({5})),
            Json::parse(R"({"temperature": 0.6, "eos_token_id": [7, 5], "do_sample": true,
                            "stop": ["a", null]})"));
  EXPECT_EQ(Json::parse(With({5})).begin().key(), "temperature");
  BaseSays(R"({"eos_token_id": [9, 7]})");
  EXPECT_EQ(Ends({5, 7, 5}), Json({9, 7, 5}));
}

TEST_F(GenerationConfig, OfABaseThatNamesNoIdBeginsWithThoseOfTheModel) {
  for (const char* text : {"{}", R"({"eos_token_id": null})", R"({"eos_token_id": []})"}) {
    BaseSays(text);
    EXPECT_EQ(Ends({5}, 3), Json({2, 5}));
    EXPECT_EQ(Ends({2}, 3), Json(2));
  }
  base_.Write("config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(Ends({5}, 3), Json({3, 5})) << "the tokenizer's";
  EXPECT_EQ(Ends({5}), Json(5));
}

TEST_F(GenerationConfig, OfABaseWithoutTheFileHasTheTokensOfItsConfig) {
  base_.Write("config.json", R"({"pad_token_id": 0, "eos_token_id": [2, 4], "bos_token_id": 1,
                                 "hidden_size": 8})");
  EXPECT_EQ(Json::parse(With({5})), Json::parse(R"({"bos_token_id": 1, "eos_token_id": [2, 4, 5],
                                                    "pad_token_id": 0})"));
  base_.Write("config.json", R"({"pad_token_id": null, "eos_token_id": 2})");
  EXPECT_EQ(Json::parse(With({2})), Json::parse(R"({"eos_token_id": 2})"));
}

TEST_F(GenerationConfig, TellsItsIds) {
  EXPECT_THAT(*GenerationEndIds(base_.path()), ElementsAre());
  BaseSays(R"({"eos_token_id": [7, 9]})");
  EXPECT_THAT(*GenerationEndIds(base_.path()), ElementsAre(7, 9));
  BaseSays(R"({"eos_token_id": 7})");
  EXPECT_THAT(*GenerationEndIds(base_.path()), ElementsAre(7));
}

TEST_F(GenerationConfig, ThatIsBadIsRefusedByFileAndKey) {
  BaseSays(R"({"eos_token_id": "</s>"})");
  EXPECT_THAT(ErrorText(GenerationConfigWith(base_.path(), {5})),
              HasSubstr("generation_config.json: 'eos_token_id' must be a token id"));
  EXPECT_THAT(ErrorText(GenerationEndIds(base_.path())), HasSubstr("'eos_token_id'"));
  BaseSays("{");
  EXPECT_THAT(ErrorText(GenerationConfigWith(base_.path(), {5})),
              HasSubstr("generation_config.json: "));
}

}  // namespace
}  // namespace fttrain
