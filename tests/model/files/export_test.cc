#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "model/config/model_config.h"
#include "model/files/folder_writer.h"
#include "model/files/weight_loader.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kConfig[] =
    R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":8,"intermediate_size":12,
        "num_hidden_layers":2,"num_attention_heads":2,"vocab_size":11,"max_position_embeddings":16,
        "tie_word_embeddings":true,"torch_dtype":"float32"})";

class Export : public testing::Test {
 protected:
  Export() : config_(*ParseModelConfig(kConfig, "config.json")) {
    base_.Write("config.json", kConfig);
    base_.Write("tokenizer.json", "{\"model\": {}}");
    base_.Write("notes.txt", "private");
    double offset = 0;
    for (const TensorSpec& tensor : ModelTensors(config_)) {
      values_.push_back(at::arange(c10::multiply_integers(tensor.shape), at::kDouble)
                            .view(tensor.shape)
                            .mul(0.1)
                            .add(offset++));
    }
  }

  // Exports everything to `folder` and returns the status of the last call.
  absl::Status Run(const std::string& folder, at::ScalarType dtype, int64_t max_shard_bytes) {
    const std::vector<TensorSpec> tensors = ModelTensors(config_);
    auto writer = CreateModelFolder(base_.path(), folder, tensors, dtype, max_shard_bytes);
    if (!writer.ok()) return writer.status();
    for (size_t i = 0; i < tensors.size(); ++i) {
      const absl::Status status = (*writer)->Append(values_[i], dtype);
      if (!status.ok()) return status;
    }
    return (*writer)->Finish();
  }

  void ExpectHolds(const std::string& folder, at::ScalarType dtype) {
    const auto files = SafetensorsFolder::Open(folder).value();
    const absl::Status fit = CheckModelTensors(*files, config_);
    EXPECT_TRUE(fit.ok()) << fit;
    const std::vector<TensorSpec> tensors = ModelTensors(config_);
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto got =
          LoadSlice(*files, tensors[i].name, tensors[i].shape, -1, 0, 0, dtype, at::kCPU).value();
      EXPECT_TRUE(at::equal(got, values_[i].to(dtype))) << tensors[i].name;
    }
  }

  const TempFolder base_, out_;
  const ModelSpec config_;
  std::vector<at::Tensor> values_;
};

TEST_F(Export, WritesOneFileWhenAllFits) {
  const std::string folder = out_ / "a/model/";
  const absl::Status status = Run(folder, at::kBFloat16, 1 << 20);
  ASSERT_TRUE(status.ok()) << status;
  ExpectHolds(folder, at::kBFloat16);
  const auto file = SafetensorsFile::Open(folder + "model.safetensors");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  EXPECT_EQ((*file)->entries().count("lm_head.weight"), 0) << "tied";
  EXPECT_FALSE(std::filesystem::exists(folder + "model.safetensors.index.json"));
}

TEST_F(Export, ShardsInOrderWithAnIndexWhenItDoesNot) {
  const absl::Status status = Run(out_ / "m", at::kFloat, 1000);
  ASSERT_TRUE(status.ok()) << status;
  ExpectHolds(out_ / "m", at::kFloat);
  const Json index = Json::parse(*ReadFile(out_ / "m/model.safetensors.index.json"));
  int64_t total = 0;
  for (const at::Tensor& value : values_) total += value.numel() * 4;
  EXPECT_EQ(index["metadata"]["total_size"], total);
  std::set<std::string> shards;
  for (const auto& shard : index["weight_map"]) shards.insert(shard.get<std::string>());
  ASSERT_GT(shards.size(), 2);
  EXPECT_EQ(*shards.begin(),
            "model-00001-of-0000" + std::to_string(shards.size()) + ".safetensors");
  for (const std::string& shard : shards) {
    EXPECT_LE(std::filesystem::file_size(out_ / ("m/" + shard)), 1000 + 1500) << "data and header";
  }
}

TEST_F(Export, GivesATensorAboveTheLimitAShardOfItsOwn) {
  const absl::Status status = Run(out_ / "m", at::kFloat, 1);
  ASSERT_TRUE(status.ok()) << status;
  ExpectHolds(out_ / "m", at::kFloat);
  EXPECT_TRUE(std::filesystem::exists(out_ / "m/model-00020-of-00020.safetensors"));
}

TEST_F(Export, HasSomeTensorsInFloat32WhateverItsDtype) {
  const std::vector<TensorSpec> tensors = {{.name = "plain", .shape = {1}},
                                           {.name = "router", .shape = {1}, .float32 = true},
                                           {.name = "correction", .shape = {1}, .constant = true}};
  const auto dtypes = [&](at::ScalarType folder) {
    auto writer = CreateModelFolder(base_.path(), out_ / "floats", tensors, folder).value();
    for (const TensorSpec& tensor : tensors) {
      EXPECT_TRUE(writer->Append(at::full({1}, 1.0009765625), DtypeInFolder(tensor, folder)).ok());
    }
    EXPECT_TRUE(writer->Finish().ok());
    const auto files = SafetensorsFolder::Open(out_ / "floats").value();
    const auto router = LoadSlice(*files, "router", {1}, -1, 0, 0, at::kFloat, at::kCPU).value();
    EXPECT_EQ(router.item<double>(), 1.0009765625) << "not rounded";
    std::vector<SafetensorsDtype> found;
    for (const TensorSpec& tensor : tensors) found.push_back(files->Find(tensor.name)->dtype);
    return found;
  };
  using enum SafetensorsDtype;
  EXPECT_THAT(dtypes(at::kBFloat16), ElementsAre(kBF16, kF32, kF32));
  EXPECT_THAT(dtypes(at::kFloat), ElementsAre(kF32, kF32, kF32));
  EXPECT_THAT(dtypes(at::kDouble), ElementsAre(kF64, kF64, kF32));
}

TEST_F(Export, CopiesConfigWithTheNewDtypeAndTokenizerButNothingElse) {
  ASSERT_TRUE(Run(out_ / "m", at::kBFloat16, 1 << 20).ok());
  const auto config = LoadModelConfig(out_ / "m").value();
  EXPECT_EQ(Json::parse(*ReadFile(out_ / "m/config.json")).at("torch_dtype"), "bfloat16");
  EXPECT_EQ(*ReadFile(out_ / "m/tokenizer.json"), "{\"model\": {}}");
  EXPECT_FALSE(std::filesystem::exists(out_ / "m/notes.txt"));
  EXPECT_EQ(out_.FileCount(), 1) << "no temporary folder";
}

// Code that is not copied, and layers that predict tokens further ahead.
TEST_F(Export, LeavesOutOfItsConfigWhatIsNotInTheFolder) {
  Json config = Json::parse(*ReadFile(base_.path() + "/config.json"));
  config["auto_map"] = {{"AutoModelForCausalLM", "modeling.Model"}};
  config["num_nextn_predict_layers"] = 1;
  base_.Write("config.json", config.dump());
  ASSERT_TRUE(Run(out_ / "m", at::kFloat, 1 << 20).ok());
  config = Json::parse(*ReadFile(out_ / "m/config.json"));
  EXPECT_FALSE(config.contains("auto_map"));
  EXPECT_EQ(config.at("num_nextn_predict_layers"), 0);
}

TEST_F(Export, HasAFileThatIsPutInPlaceOfTheBases) {
  base_.Write("generation_config.json", "{}");
  const auto writer =
      CreateModelFolder(base_.path(), out_ / "m", ModelTensors(config_), at::kFloat).value();
  EXPECT_TRUE(writer->PutFile("generation_config.json", "{\"eos_token_id\": 5}").ok());
  for (const at::Tensor& value : values_) EXPECT_TRUE(writer->Append(value, at::kFloat).ok());
  EXPECT_TRUE(writer->Finish().ok());
  EXPECT_EQ(*ReadFile(out_ / "m/generation_config.json"), "{\"eos_token_id\": 5}");
  EXPECT_EQ(*ReadFile(out_ / "m/tokenizer.json"), "{\"model\": {}}");
}

TEST_F(Export, ReplacesAnOlderExportOfOtherShards) {
  ASSERT_TRUE(Run(out_ / "m", at::kFloat, 1 << 20).ok());
  std::filesystem::copy_file(out_ / "m/tokenizer.json", out_ / "m/mine.txt");
  ASSERT_TRUE(Run(out_ / "m", at::kFloat, 1000).ok());
  EXPECT_FALSE(std::filesystem::exists(out_ / "m/model.safetensors")) << "would hide the shards";
  ExpectHolds(out_ / "m", at::kFloat);
  ASSERT_TRUE(Run(out_ / "m", at::kDouble, 1 << 20).ok());
  ExpectHolds(out_ / "m", at::kDouble);
  EXPECT_TRUE(std::filesystem::exists(out_ / "m/mine.txt"));
}

TEST_F(Export, ThatIsAbandonedLeavesTheOldFilesAndNoOthers) {
  ASSERT_TRUE(Run(out_ / "m", at::kFloat, 1 << 20).ok());
  {
    auto writer =
        CreateModelFolder(base_.path(), out_ / "m", ModelTensors(config_), at::kFloat).value();
    ASSERT_TRUE(writer->Append(values_[0] + 1, at::kFloat).ok());
    EXPECT_THAT(ErrorText(writer->Finish()), HasSubstr("19 of 20 tensors were not given"));
  }
  ExpectHolds(out_ / "m", at::kFloat);
  EXPECT_EQ(out_.FileCount(), 1);
}

TEST_F(Export, GoesIntoAFolderOnAnotherFileSystem) {
  namespace fs = std::filesystem;
  const fs::path other = fs::path("/dev/shm") / fs::path(out_.path()).filename();
  std::error_code error;
  ASSERT_TRUE(fs::create_directory(other, error)) << "this needs /dev/shm: " << error.message();
  fs::create_directory_symlink(other, out_ / "m");
  const absl::Status status = Run(out_ / "m", at::kFloat, 1 << 20);
  EXPECT_TRUE(status.ok()) << status;
  if (status.ok()) ExpectHolds(other, at::kFloat);
  for (const auto& item : fs::directory_iterator(other)) {
    EXPECT_FALSE(item.is_directory()) << item.path() << " was left";
  }
  fs::remove_all(other);
}

TEST_F(Export, RefusesTheBaseFolderAndDtypesThatAreNotFloating) {
  EXPECT_THAT(ErrorText(Run(base_.path() + "/.", at::kFloat, 1 << 20)),
              HasSubstr("is the base model's folder"));
  EXPECT_EQ(Run(out_ / "m", at::kLong, 1 << 20).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(out_.FileCount(), 0);
}

}  // namespace
}  // namespace fttrain
