// The shipped shapes are the models that their names say: by their numbers of parameters, which the
// checkpoints' index files have.
#include "launch/plan/shapes.h"

#include <gmock/gmock.h>

#include <map>

namespace fttrain {
namespace {

using ::testing::HasSubstr;

int64_t ParametersOf(const std::string& name) {
  const auto shape = FindShape(name);
  EXPECT_TRUE(shape.ok()) << shape.status();
  if (!shape.ok()) return 0;
  const auto model = ModelOfShape(*shape);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return 0;
  EXPECT_TRUE(model->notes.empty()) << model->notes.front();
  int64_t elements = 0;
  for (const TensorSpec& tensor : ModelTensors(*model)) {
    int64_t numel = 1;
    for (const int64_t dim : tensor.shape) numel *= dim;
    elements += numel;
  }
  return elements;
}

TEST(Shapes, HaveTheParametersOfTheirModels) {
  const std::map<std::string, int64_t> known = {{"llama-3.2-1b", 1'235'814'400},
                                                {"llama-3.2-3b", 3'212'749'824},
                                                {"llama-3.1-8b", 8'030'261'248},
                                                {"llama-3.1-70b", 70'553'706'496},
                                                {"llama-3.1-405b", 405'853'388'800},
                                                {"llama-2-7b", 6'738'415'616},
                                                {"llama-2-13b", 13'015'864'320},
                                                {"llama-2-70b", 68'976'648'192},
                                                {"qwen2.5-0.5b", 494'032'768},
                                                {"qwen2.5-7b", 7'615'616'512},
                                                {"qwen2.5-32b", 32'763'876'352},
                                                {"qwen2.5-72b", 72'706'203'648},
                                                {"qwen3-0.6b", 596'049'920},
                                                {"qwen3-8b", 8'190'735'360},
                                                {"qwen3-32b", 32'762'123'264},
                                                {"mistral-7b", 7'248'023'552},
                                                {"mistral-nemo-12b", 12'247'782'400},
                                                {"mistral-large-123b", 122'610'069'504},
                                                {"mixtral-8x7b", 46'702'792'704},
                                                {"qwen3-30b-a3b", 30'532'122'624},
                                                {"qwen3-235b-a22b", 235'093'634'560},
                                                {"deepseek-v2-lite", 15'706'484'224},
                                                {"deepseek-v2", 235'741'434'880},
                                                {"deepseek-v3", 671'026'419'200},
                                                {"gpt-oss-20b", 20'914'757'184},
                                                {"gpt-oss-120b", 116'829'156'672},
                                                {"yi-34b", 34'388'917'248},
                                                {"smollm2-135m", 134'515'008},
                                                {"gemma-2-2b", 2'614'341'888},
                                                {"gemma-2-27b", 27'227'128'320},
                                                {"gemma-3-1b", 999'885'952},
                                                {"phi-3-mini-4k", 3'821'079'552},
                                                {"phi-4", 14'659'507'200},
                                                {"phi-4-mini", 3'836'021'760},
                                                {"olmo-2-1b", 1'484'916'736},
                                                {"olmo-2-7b", 7'298'617'344},
                                                {"granite-3.3-2b", 2'533'539'840},
                                                {"granite-3.3-8b", 8'170'864'640},
                                                {"smollm3-3b", 3'075'098'624},
                                                {"glm-4-9b", 9'400'279'040},
                                                {"command-a-111b", 111'057'580'032}};
  for (const auto& [name, parameters] : known) EXPECT_EQ(ParametersOf(name), parameters) << name;
}

TEST(Shapes, AreAllReadAsConfigs) {
  for (const std::string& name : ShapeNames()) EXPECT_GT(ParametersOf(name), 0) << name;
}

TEST(Shapes, HaveLenientNames) {
  const std::map<std::string, std::string> meant = {
      {"meta-llama/Meta-Llama-3.1-70B-Instruct", "llama-3.1-70b"},
      {"Llama3.1-70b", "llama-3.1-70b"},
      {"llama_3_1_70B", "llama-3.1-70b"},
      {"Llama-2-7b-chat-hf", "llama-2-7b"},
      {"Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"},
      {"qwen3:8b", "qwen3-8b"},
      {"Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"},
      {"mistralai/Mixtral-8x7B-v0.1", "mixtral-8x7b"},
      {"openai/gpt-oss-20b", "gpt-oss-20b"},
      {"unsloth/gpt-oss-120b-BF16", "gpt-oss-120b"},
      {"Qwen3-0.6B-Base", "qwen3-0.6b"},
      {"mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b"},
      {"Mistral-Nemo-Instruct-2407", "mistral-nemo-12b"},
      {"mistralai/Mistral-Large-Instruct-2407", "mistral-large-123b"},
      {"deepseek-ai/DeepSeek-V2-Lite-Chat", "deepseek-v2-lite"},
      {"deepseek-ai/DeepSeek-V3-0324", "deepseek-v3"},
      {"01-ai/Yi-1.5-34B-Chat", "yi-34b"},
      {"google/gemma-3-27b-it", "gemma-3-27b"},
      {"models/gemma-3-27b-it-text", "gemma-3-27b"},
      {"CohereLabs/c4ai-command-r7b-12-2024", "command-r7b"},
      {"microsoft/phi-4", "phi-4"},
      {"microsoft/Phi-4-mini-instruct", "phi-4-mini"},
      {"HuggingFaceTB/SmolLM3-3B", "smollm3-3b"},
      {"zai-org/GLM-4-9B-0414", "glm-4-9b"},
      {"allenai/OLMo-2-1124-7B-Instruct", "olmo-2-7b"}};
  for (const auto& [written, name] : meant) {
    const auto shape = FindShape(written);
    ASSERT_TRUE(shape.ok()) << shape.status();
    EXPECT_EQ(shape->name, name) << written;
  }
}

TEST(Shapes, AnUnknownNameIsAnsweredWithTheNearestAndAll) {
  const absl::Status status = FindShape("lama-3.1-70b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("did you mean llama-3.1-70b?"));
  for (const std::string& name : ShapeNames()) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
  // Half a name is none, nor is a size that the model does not have.
  for (const char* name : {"llama", "llama-3.1", "qwen3-7b", ""}) {
    EXPECT_FALSE(FindShape(name).ok()) << name;
  }
}

}  // namespace
}  // namespace fttrain
