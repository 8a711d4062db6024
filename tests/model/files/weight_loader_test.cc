#include "model/files/weight_loader.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "model/config/model_config.h"
#include "model/files/slice_reader.h"
#include "tests/model/written_model.h"
#include "tests/status_text.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

// Values that differ everywhere and round differently in 16 bits.
at::Tensor Values(at::IntArrayRef shape) {
  const int64_t count = c10::multiply_integers(shape);
  return (at::arange(count, at::kDouble) * 0.12345 - 3).view(shape);
}

TEST(LoadSlice, EqualsNarrowForEveryDtypeAndDimension) {
  for (const at::ScalarType from : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor full = Values({6, 4, 10}).to(from);
    const WrittenModel model({{"pad", at::zeros({3}).to(from)}, {"w", full}});
    for (const at::ScalarType to : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
      for (const int dim : {-1, 0, 1, 2}) {
        const at::Tensor want = dim < 0 ? full : full.narrow(dim, 1, 2);
        const auto got =
            LoadSlice(model.folder(), "w", {6, 4, 10}, dim, dim < 0 ? 0 : 1, 2, to, TestDevice())
                .value()
                .cpu();
        EXPECT_EQ(got.scalar_type(), to);
        EXPECT_TRUE(got.is_contiguous());
        EXPECT_TRUE(at::equal(got, want.to(to))) << from << " to " << to << ", dim " << dim;
      }
    }
  }
}

TEST(LoadSlice, GoesThroughBoundedBuffersWhateverTheSize) {
  // Three pieces of float and some, whose ends rows straddle.
  const int64_t rows = 7 * LoadPieceBytes(TestDevice()) / 2 / 4 / 4000;
  const at::Tensor full =
      at::arange(rows * 4000, at::kLong).remainder(251).view({rows, 4000}).to(at::kFloat);
  const WrittenModel model({{"w", full}});
  for (const int dim : {-1, 0, 1}) {
    const int64_t extent = dim == 0 ? rows - 1 : 3999;
    const at::Tensor want = dim < 0 ? full : full.narrow(dim, 1, extent);
    for (const at::ScalarType to : {at::kBFloat16, at::kFloat}) {
      const auto got =
          LoadSlice(model.folder(), "w", {rows, 4000}, dim, 1, extent, to, TestDevice()).value();
      EXPECT_TRUE(at::equal(got.cpu().to(at::kFloat), want)) << "dim " << dim << " to " << to;
    }
  }
}

TEST(LoadSlice, ReadsNoByteOutsideTheSlice) {
  const WrittenModel model({{"w", Values({8, 3})}});
  // All but the first two rows and a third of the next one are cut off.
  std::filesystem::resize_file(model.file(),
                               std::filesystem::file_size(model.file()) - 6 * 3 * 8 + 8);
  EXPECT_TRUE(LoadSlice(model.folder(), "w", {8, 3}, 0, 0, 2, at::kFloat, TestDevice()).ok());
  const auto third = LoadSlice(model.folder(), "w", {8, 3}, 0, 2, 1, at::kFloat, TestDevice());
  EXPECT_THAT(third, IsError(absl::StatusCode::kDataLoss, "tensor 'w'"));
}

TEST(LoadSlice, MayBeEmpty) {
  const WrittenModel model({{"w", Values({4, 3})}});
  const auto got =
      LoadSlice(model.folder(), "w", {4, 3}, 0, 4, 0, at::kFloat, TestDevice()).value();
  EXPECT_EQ(got.sizes(), at::IntArrayRef({0, 3}));
}

TEST(LoadSliceInto, FillsTheFirstRowsOfAPaddedTensor) {
  const at::Tensor full = Values({7, 3}).to(at::kFloat);
  const WrittenModel model({{"w", full}});
  const at::Tensor padded = at::zeros({4, 3});
  ASSERT_TRUE(LoadSliceInto(model.folder(), "w", {7, 3}, 0, 4, 3, padded.narrow(0, 0, 3)).ok());
  EXPECT_TRUE(at::equal(padded.narrow(0, 0, 3), full.narrow(0, 4, 3)));
  EXPECT_EQ(padded[3].abs().sum().item<float>(), 0);
}

TEST(LoadSliceInto, ThrowsOnADestinationOfAnotherShape) {
  const WrittenModel model({{"w", Values({4, 3})}});
  EXPECT_THROW((void)LoadSliceInto(model.folder(), "w", {4, 3}, 0, 0, 2, at::zeros({3, 3})),
               c10::Error);
  EXPECT_THROW((void)LoadSliceInto(model.folder(), "w", {4, 3}, 0, 3, 2, at::zeros({2, 3})),
               c10::Error);
  EXPECT_THROW((void)LoadSliceInto(model.folder(), "w", {4, 3}, -1, 0, 0, at::zeros({3, 4}).t()),
               c10::Error);
}

TEST(LoadSlice, NamesTensorFileAndShapesOnErrors) {
  const WrittenModel model({{"w", Values({4, 3})}, {"ids", at::arange(4)}});
  const auto load = [&](std::string_view name, const std::vector<int64_t>& shape) {
    return LoadSlice(model.folder(), name, shape, -1, 0, 0, at::kFloat, at::kCPU).status();
  };
  EXPECT_THAT(load("v", {4}), IsError(absl::StatusCode::kNotFound, "tensor 'v' is not there"));
  EXPECT_EQ(load("w", {3, 4}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorText(load("w", {3, 4})),
            model.file() + ": tensor 'w' has shape [4, 3], expected [3, 4]");
  EXPECT_THAT(ErrorText(load("ids", {4})), HasSubstr("tensor 'ids' has dtype I64, expected F64"));
}

ModelSpec TinyConfig() {
  auto config = ParseModelConfig(
      R"({"model_type":"llama","hidden_size":8,"intermediate_size":12,"num_hidden_layers":3,
          "num_attention_heads":2,"vocab_size":11,"max_position_embeddings":16})",
      "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return *config;
}

std::vector<std::pair<std::string, at::Tensor>> TensorsOf(const ModelSpec& config) {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const TensorSpec& tensor : ModelTensors(config)) {
    tensors.emplace_back(tensor.name, at::zeros(tensor.shape));
  }
  return tensors;
}

TEST(CheckModelTensors, AcceptsExactlyTheConfigsTensors) {
  EXPECT_TRUE(CheckModelTensors(WrittenModel(TensorsOf(TinyConfig())).folder(), TinyConfig()).ok());
}

TEST(CheckModelTensors, AllowsATiedHeadAndCachedRotaryFrequencies) {
  auto tensors = TensorsOf(TinyConfig());
  tensors.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({2}));
  ModelSpec tied = TinyConfig();
  tied.head.tied = true;
  EXPECT_TRUE(CheckModelTensors(WrittenModel(tensors).folder(), tied).ok());
}

TEST(CheckModelTensors, LeavesWhatIsNoPartOfTheModel) {
  ModelSpec model = TinyConfig();
  model.unread_prefixes = {"model.layers.3."};
  auto tensors = TensorsOf(model);
  tensors.emplace_back("model.layers.3.eh_proj.weight", at::zeros({2}));
  tensors.emplace_back("model.layers.3.self_attn.q_proj.weight", at::zeros({2}));
  EXPECT_TRUE(CheckModelTensors(WrittenModel(tensors).folder(), model).ok());
  tensors.emplace_back("model.layers.30.eh_proj.weight", at::zeros({2}));
  EXPECT_THAT(ErrorText(CheckModelTensors(WrittenModel(tensors).folder(), model)),
              HasSubstr("1 unexpected: model.layers.30.eh_proj.weight"));
}

TEST(CheckModelTensors, RefusesATiedHeadThatIsNotTheEmbedding) {
  ModelSpec tied = TinyConfig();
  tied.head.tied = true;
  auto tensors = TensorsOf(TinyConfig());
  ASSERT_EQ(tensors.front().first, "model.embed_tokens.weight");
  ASSERT_EQ(tensors.back().first, "lm_head.weight");
  const at::Tensor table = Values({11, 8}).to(at::kFloat);
  tensors.front().second = table;
  tensors.back().second = table.clone();
  EXPECT_TRUE(CheckModelTensors(WrittenModel(tensors).folder(), tied).ok());
  tensors.back().second = table.to(at::kDouble).clone();
  EXPECT_TRUE(CheckModelTensors(WrittenModel(tensors).folder(), tied).ok()) << "equal values";
  tensors.back().second[10][7] += 1e-10;  // less than float32 tells apart
  const WrittenModel model(tensors);
  const absl::Status status = CheckModelTensors(model.folder(), tied);
  EXPECT_THAT(status, IsError(absl::StatusCode::kInvalidArgument,
                              model.file() + ": tensor 'lm_head.weight' differs from "
                                             "'model.embed_tokens.weight' although "
                                             "tie_word_embeddings is true: set it to false"));
  EXPECT_TRUE(CheckModelTensors(model.folder(), TinyConfig()).ok()) << "a head of its own";
  tensors.back().second = at::zeros({12, 8});
  EXPECT_THAT(CheckModelTensors(WrittenModel(tensors).folder(), tied),
              IsError(absl::StatusCode::kInvalidArgument,
                      "tensor 'lm_head.weight' has shape [12, 8], expected [11, 8]"));
}

TEST(CheckModelTensors, ListsEverythingThatDoesNotFitAtOnce) {
  auto tensors = TensorsOf(TinyConfig());
  tensors[0].second = at::zeros({12, 8});
  tensors[1].second = at::zeros({8}).to(at::kLong);
  tensors[2].first = "model.layers.0.self_attn.\x1bqkv_proj.weight";
  tensors.pop_back();
  const WrittenModel model(tensors);
  const std::string message = ErrorText(CheckModelTensors(model.folder(), TinyConfig()));
  EXPECT_THAT(message,
              HasSubstr("2 missing: model.layers.0.self_attn.q_proj.weight, lm_head.weight"));
  EXPECT_THAT(message, HasSubstr("model.embed_tokens.weight [12, 8] for [11, 8]"));
  EXPECT_THAT(message, HasSubstr("model.layers.0.input_layernorm.weight I64"));
  EXPECT_THAT(message, HasSubstr("1 unexpected: model.layers.0.self_attn.\\x1bqkv_proj.weight"));
}

TEST(CheckModelTensors, CutsLongListsAndCounts) {
  const WrittenModel model({{"model.norm.weight", at::zeros({8})}});
  const std::string message = ErrorText(CheckModelTensors(model.folder(), TinyConfig()));
  EXPECT_THAT(message, HasSubstr("29 missing: model.embed_tokens.weight, "));
  EXPECT_THAT(message, HasSubstr(", ..."));
  EXPECT_EQ(message.find("model.layers.2.self_attn.q_proj"), std::string::npos) << message;
}

}  // namespace
}  // namespace fttrain
