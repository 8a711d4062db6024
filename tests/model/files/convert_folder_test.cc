#include "model/files/convert_folder.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/config/model_config.h"
#include "model/files/adapter_config.h"
#include "model/files/nf4_folder.h"
#include "model/files/nf4_loader.h"
#include "model/files/weight_loader.h"
#include "model/linears/peft_names.h"
#include "tests/model/nf4_matrices.h"
#include "tests/model/written_model.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kConfig[] =
    R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":48,
        "intermediate_size":80,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":50,
        "max_position_embeddings":16,"torch_dtype":"bfloat16"})";
constexpr char kUp[] = "model.layers.1.mlp.up_proj";

// A model in a folder, and an adapter on up_proj and q_proj.
class ConvertFolderTest : public testing::Test {
 protected:
  explicit ConvertFolderTest(at::ScalarType dtype = at::kBFloat16) {
    at::manual_seed(7);
    base_.Write("config.json", kConfig);
    base_.Write("tokenizer.json", "{}");
    for (const TensorSpec& spec : ModelTensors(*LoadModelConfig(base_.path()))) {
      tensors_.emplace_back(spec.name, at::randn(spec.shape).mul(0.05).to(dtype));
    }
    WriteTensors(base_ / "model.safetensors", tensors_);
    std::vector<AdapterTensor>& factors = factors_;
    for (const TensorSpec& matrix : LinearMatrices(*LoadModelConfig(base_.path()))) {
      const std::string& module = matrix.module;
      if (!module.ends_with("up_proj") && !module.ends_with("q_proj")) continue;
      factors.push_back({PeftName(module, Factor::kA), at::randn({4, matrix.shape[1]}) * 0.1});
      factors.push_back({PeftName(module, Factor::kB), at::randn({matrix.shape[0], 4}) * 0.1});
      if (module != kUp) continue;
      b_ = factors.back().value;
      a_ = factors[factors.size() - 2].value;
    }
    EXPECT_TRUE(WriteAdapter(adapter_.path(), form_, factors).ok());
    conversion_.nf4 = {64, true, dtype};
  }

  at::Tensor Base(const std::string& name) const {
    return std::find_if(tensors_.begin(), tensors_.end(),
                        [&](const auto& tensor) { return tensor.first == name; })
        ->second;
  }
  void ScaleAdapter(double factor) {
    for (auto& each : factors_) {
      if (each.name.find("lora_B") != std::string::npos) each.value = each.value * factor;
    }
    EXPECT_TRUE(WriteAdapter(adapter_.path(), form_, factors_).ok());
  }
  at::Tensor Delta() const { return at::matmul(b_, a_) * (6.0 / std::sqrt(4.0)); }

  absl::StatusOr<Converted> Convert(const std::string& from, const std::string& output) const {
    const absl::StatusOr<SourceFolder> source = OpenSource(from);
    if (!source.ok()) return source.status();
    return ConvertFolder(*source, conversion_, output);
  }
  // A matrix of a folder, dequantised if it is NF4.
  static at::Tensor Read(const std::string& folder, const std::string& name) {
    const absl::StatusOr<SourceFolder> source = OpenSource(folder);
    EXPECT_TRUE(source.ok()) << source.status();
    const SafetensorsEntry* entry = source->files->Find(name);
    for (const TensorSpec& spec : ModelTensors(source->model)) {
      if (spec.name != name) continue;
      if (!IsNf4Tensor(*source->files, name)) {
        const at::ScalarType dtype =
            entry->dtype == SafetensorsDtype::kF32 ? at::kFloat : at::kBFloat16;
        return *LoadSlice(*source->files, name, spec.shape, -1, 0, 0, dtype, at::kCPU);
      }
      return Dequantized(*source->files, spec, *source->nf4);
    }
    return {};
  }
  static at::Tensor Dequantized(const SafetensorsFolder& files, const TensorSpec& spec,
                                const Nf4Options& options) {
    const Nf4Matrix nf4 = EmptyNf4(WholeParam(spec.name, spec.shape), options);
    EXPECT_TRUE(LoadNf4(files, spec.name, spec.shape, nf4).ok());
    return DequantizedNf4(nf4, options.rounding);
  }
  // What NF4 makes of a matrix of the base.
  at::Tensor Quantized(const std::string& name) const {
    const auto source = OpenSource(base_.path());
    return Dequantized(*source->files, {name, Base(name).sizes().vec()}, conversion_.nf4);
  }

  const AdapterForm form_{4, 6.0, 0.0, true, {{"up_proj", "q_proj"}}, ""};
  const TempFolder base_, adapter_, out_;
  std::vector<AdapterTensor> factors_;
  NamedTensors tensors_;
  at::Tensor a_, b_;
  Conversion conversion_;
};

TEST_F(ConvertFolderTest, QuantizesEveryLinearLayerButTheHead) {
  conversion_.write_nf4 = true;
  const auto done = Convert(base_.path(), out_ / "m").value();
  EXPECT_EQ(done.quantized_matrices, 14);
  EXPECT_THAT(done.dense, ElementsAre("lm_head"));
  const auto result = OpenSource(out_ / "m").value();
  EXPECT_EQ(result.nf4->block_size, 64);
  EXPECT_TRUE(result.nf4->double_quant);
  EXPECT_EQ(result.nf4->rounding, at::kBFloat16);
  for (const auto& [name, value] : tensors_) {
    const bool dense =
        value.dim() == 1 || name == "lm_head.weight" || name.ends_with("tokens.weight");
    EXPECT_TRUE(at::equal(Read(out_ / "m", name), dense ? value : Quantized(name))) << name;
  }
  const Json config = Json::parse(*ReadFile(out_ / "m/config.json"));
  EXPECT_EQ(config["quantization_config"]["llm_int8_skip_modules"], Json::array({"lm_head"}));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(*ReadFile(out_ / "m/tokenizer.json"), "{}");
}

TEST_F(ConvertFolderTest, TellsAfterEachTensorHowFarItIs) {
  conversion_.write_nf4 = true;
  std::vector<std::pair<size_t, int64_t>> told;  // tensors and bytes of the output
  conversion_.progress = [&](const FolderWriter& writer) {
    told.push_back({writer.next(), writer.written_bytes()});
    if (told.size() < tensors_.size()) return;
    EXPECT_EQ(told.back(), std::pair(writer.tensors().size(), writer.total_bytes()));
  };
  ASSERT_TRUE(Convert(base_.path(), out_ / "m").ok());
  EXPECT_EQ(told.size(), tensors_.size());
  for (size_t i = 1; i < told.size(); ++i) {
    EXPECT_GT(told[i].first, told[i - 1].first);
    EXPECT_GT(told[i].second, told[i - 1].second);
  }
}

TEST_F(ConvertFolderTest, QuantizesTheHeadAndInOtherBlocksIfAsked) {
  conversion_.write_nf4 = conversion_.quantize_head = true;
  conversion_.nf4 = {128, false, at::kBFloat16};
  const auto done = Convert(base_.path(), out_ / "m").value();
  EXPECT_EQ(done.quantized_matrices, 15);
  EXPECT_TRUE(done.dense.empty());
  const auto result = OpenSource(out_ / "m").value();
  EXPECT_EQ(result.nf4->block_size, 128);
  EXPECT_FALSE(result.nf4->double_quant);
  EXPECT_TRUE(at::equal(Read(out_ / "m", "lm_head.weight"), Quantized("lm_head.weight")));
}

TEST_F(ConvertFolderTest, AHeadThatIsNotQuantisedMayHaveADtypeOfItsOwn) {
  tensors_.back().second = tensors_.back().second.to(at::kFloat);
  ASSERT_EQ(tensors_.back().first, "lm_head.weight");
  WriteTensors(base_ / "model.safetensors", tensors_);
  const auto source = OpenSource(base_.path()).value();
  EXPECT_EQ(*MatrixDtype(*source.files, source.model, /*quantize_head=*/false), at::kBFloat16);
  EXPECT_THAT(ErrorText(MatrixDtype(*source.files, source.model, /*quantize_head=*/true)),
              HasSubstr("'lm_head.weight' is float32, but "
                        "'model.layers.0.self_attn.q_proj.weight' is bfloat16"));
  conversion_.write_nf4 = true;
  ASSERT_TRUE(Convert(base_.path(), out_ / "m").ok());
  EXPECT_TRUE(at::equal(Read(out_ / "m", "lm_head.weight"), Base("lm_head.weight")));
}

TEST_F(ConvertFolderTest, KeepsAMatrixWithItsScalesInOneShard) {
  conversion_.write_nf4 = true;
  conversion_.max_shard_bytes = 1;
  ASSERT_TRUE(Convert(base_.path(), out_ / "m").ok());
  ASSERT_TRUE(OpenSource(out_ / "m").ok());
  const Json index = Json::parse(*ReadFile(out_ / "m/model.safetensors.index.json"));
  const std::string weight = std::string(kUp) + ".weight";
  EXPECT_EQ(index["weight_map"][weight], index["weight_map"][weight + ".absmax"]);
  EXPECT_EQ(index["weight_map"].size(), tensors_.size() + 14 * 5);
}

TEST_F(ConvertFolderTest, MergesInFloat32AndRoundsOnce) {
  conversion_.adapter = adapter_.path();
  const auto done = Convert(base_.path(), out_ / "m").value();
  EXPECT_EQ(done.adapted_matrices, 4);
  const std::string up = std::string(kUp) + ".weight", down = "model.layers.1.mlp.down_proj.weight";
  const at::Tensor want = (Base(up).to(at::kFloat) + Delta()).to(at::kBFloat16);
  // The product's order of summation may differ by a rounding of float32, seldom one of bfloat16.
  const at::Tensor error = (Read(out_ / "m", up).to(at::kFloat) - want.to(at::kFloat)).abs();
  EXPECT_LE((error > 0).sum().item<int64_t>(), 2);
  EXPECT_LT(error.max().item<float>(), 0.004);
  EXPECT_TRUE(at::equal(Read(out_ / "m", down), Base(down))) << "no adapter: as it was";
  EXPECT_EQ(*ReadFile(out_ / "m/tokenizer.json"), "{}");
}

TEST_F(ConvertFolderTest, MergesIntoWhatNf4MakesOfTheBase) {
  conversion_.adapter = adapter_.path();
  conversion_.base = MergeBase::kDequantized;
  ASSERT_TRUE(Convert(base_.path(), out_ / "m").ok());
  const std::string up = std::string(kUp) + ".weight", down = "model.layers.1.mlp.down_proj.weight";
  const at::Tensor want = (Quantized(up).to(at::kFloat) + Delta()).to(at::kBFloat16);
  EXPECT_LT((Read(out_ / "m", up) - want).abs().max().item<float>(), 0.004);
  EXPECT_TRUE(at::equal(Read(out_ / "m", down), Quantized(down)))
      << "every matrix the run had in NF4";
  EXPECT_TRUE(at::equal(Read(out_ / "m", "lm_head.weight"), Base("lm_head.weight")));
  EXPECT_FALSE(LoadModelConfig(out_ / "m")->quantized);
}

TEST_F(ConvertFolderTest, EndsAnswersWhereTheAdapterWasTaughtTo) {
  const std::string text = "{\"eos_token_id\":7 , \"top_k\": 20}";
  base_.Write("generation_config.json", text);
  const auto generation = [&](const char* output) {
    EXPECT_TRUE(Convert(base_.path(), out_ / output).ok());
    return *ReadFile(out_ / output + "/generation_config.json");
  };
  EXPECT_EQ(generation("quantized"), text);
  conversion_.adapter = adapter_.path();
  EXPECT_EQ(generation("unknown"), text) << "an adapter that says nothing";
  adapter_.Write("generation_config.json", R"({"eos_token_id": 7, "top_k": 50})");
  EXPECT_EQ(generation("equal"), text);
  adapter_.Write("generation_config.json", R"({"eos_token_id": [3, 7], "top_k": 50})");
  EXPECT_EQ(Json::parse(generation("merged")),
            Json::parse(R"({"eos_token_id": [7, 3], "top_k": 20})"));
  conversion_.write_nf4 = true;
  EXPECT_EQ(generation("requantized"), generation("merged"));
  adapter_.Write("generation_config.json", R"({"eos_token_id": "x"})");
  EXPECT_THAT(Convert(base_.path(), out_ / "bad"),
              IsError(absl::StatusCode::kInvalidArgument, "generation_config.json"));
  EXPECT_FALSE(std::filesystem::exists(out_ / "bad"));
}

TEST_F(ConvertFolderTest, MergingIntoAQuantisedFolderEqualsMergingIntoItsDequantisedBase) {
  conversion_.write_nf4 = true;
  ASSERT_TRUE(Convert(base_.path(), out_ / "nf4").ok());
  conversion_.write_nf4 = false;
  conversion_.adapter = adapter_.path();
  conversion_.base = MergeBase::kDequantized;
  ASSERT_TRUE(Convert(base_.path(), out_ / "from16").ok());
  ASSERT_TRUE(Convert(out_ / "nf4", out_ / "from4").ok());
  for (const auto& [name, value] : tensors_) {
    EXPECT_TRUE(at::equal(Read(out_ / "from4", name), Read(out_ / "from16", name))) << name;
  }
  const auto config = nlohmann::json::parse(*ReadFile(out_ / "from4/config.json"));
  EXPECT_EQ(config.value("dtype", config.value("torch_dtype", "")), "bfloat16");
}

TEST_F(ConvertFolderTest, RequantisesAndLeavesMatricesWithoutAnAdapterBitForBit) {
  conversion_.write_nf4 = true;
  ASSERT_TRUE(Convert(base_.path(), out_ / "nf4").ok());
  conversion_.adapter = adapter_.path();
  conversion_.base = MergeBase::kDequantized;
  const auto done = Convert(out_ / "nf4", out_ / "merged").value();
  EXPECT_EQ(done.quantized_matrices, 14);
  const std::string up = std::string(kUp) + ".weight", down = "model.layers.1.mlp.down_proj.weight";
  EXPECT_TRUE(at::equal(Read(out_ / "merged", down), Read(out_ / "nf4", down)));
  const at::Tensor exact = Quantized(up).to(at::kFloat) + Delta();
  const at::Tensor error = (Read(out_ / "merged", up).to(at::kFloat) - exact).abs();
  EXPECT_LT(error.mean().item<float>(), 0.12 * exact.abs().mean().item<float>());
  EXPECT_GT(error.mean().item<float>(), 0.01 * exact.abs().mean().item<float>());
}

// Of updates as large as the weights, and a hundredth of that.
TEST_F(ConvertFolderTest, TellsHowMuchOfTheUpdateIsLeft) {
  conversion_.adapter = adapter_.path();
  const auto share = [&](MergeBase base, bool write_nf4, const std::string& output) {
    conversion_.base = base;
    conversion_.write_nf4 = write_nf4;
    const auto done = Convert(base_.path(), out_ / output).value();
    EXPECT_EQ(done.updates.size(), 4) << "q_proj and up_proj of two layers";
    double squared = 0;
    for (const auto& [module, update] : done.updates) squared += update.squared;
    EXPECT_NEAR(squared, done.update.squared, 1e-9 * squared);
    return done.update.value();
  };
  EXPECT_NEAR(share(MergeBase::kOriginal, false, "large16"), 1, 0.01);
  EXPECT_NEAR(share(MergeBase::kOriginal, true, "large4"), 1, 0.1);
  EXPECT_NEAR(share(MergeBase::kDequantized, true, "large44"), 1, 0.1);
  ScaleAdapter(0.01);
  EXPECT_NEAR(share(MergeBase::kDequantized, false, "small16"), 1, 0.2);
  EXPECT_NEAR(share(MergeBase::kOriginal, true, "small4"), 1, 0.3) << "as often up as down";
  EXPECT_LT(share(MergeBase::kDequantized, true, "small44"), 0.1) << "below half a step";
}

TEST_F(ConvertFolderTest, LeavesNothingOfWhatIsNotAccepted) {
  conversion_.adapter = adapter_.path();
  conversion_.accept = [](const Converted& done) {
    return absl::InvalidArgumentError(absl::StrCat(done.updates.size(), " updates"));
  };
  EXPECT_THAT(Convert(base_.path(), out_ / "m"),
              IsError(absl::StatusCode::kInvalidArgument, "4 updates"));
  EXPECT_EQ(out_.FileCount(), 0);
}

TEST(ShareOfUpdate, IsThatOfTheElementsThatMove) {
  const at::Tensor ones = at::ones({2, 2}, at::kBFloat16);
  // bfloat16 has steps of 2^-7 above 1.
  at::Tensor update = at::tensor({0.015625f, 0.001f, 0.0f, 0.001f}).view({2, 2});
  const at::Tensor sum = ones.to(at::kFloat) + update;
  const UpdateShare some = ShareOfUpdate(ones, sum, sum.to(at::kBFloat16), nullptr);
  EXPECT_NEAR(some.value(), 0.015625 * 0.015625 / (0.015625 * 0.015625 + 2e-6), 1e-4);
  EXPECT_EQ(ShareOfUpdate(ones, ones.to(at::kFloat), ones, nullptr).value(), 1.0) << "no update";
}

TEST_F(ConvertFolderTest, RefusesAnAdapterThatDoesNotFit) {
  conversion_.adapter = adapter_.path();
  const std::string b = PeftName(kUp, Factor::kB);
  NamedTensors all;
  for (const TensorSpec& factor :
       AdapterTensors(OpenSource(base_.path())->model, *ReadAdapterConfig(adapter_.path()))) {
    all.emplace_back(factor.name, factor.name == b ? at::zeros({81, 4}) : at::zeros(factor.shape));
  }
  WriteTensors(adapter_ / "adapter_model.safetensors", all);
  EXPECT_THAT(ErrorText(Convert(base_.path(), out_ / "m")),
              HasSubstr("up_proj.lora_B.weight [81, 4] for [80, 4]"));
  WriteTensors(adapter_ / "adapter_model.safetensors",
               {{PeftName(kUp, Factor::kA), at::zeros({4, 48})}, {b, at::zeros({80, 4})}});
  const absl::Status status = Convert(base_.path(), out_ / "m").status();
  EXPECT_THAT(status,
              IsError(absl::StatusCode::kInvalidArgument, "adapts up_proj of layer 1, but"));
  EXPECT_EQ(out_.FileCount(), 0);
}

TEST_F(ConvertFolderTest, NamesATensorThatIsNotFiniteAndLeavesNothing) {
  tensors_[2].second[5][6] = HUGE_VAL;
  WriteTensors(base_ / "model.safetensors", tensors_);
  conversion_.write_nf4 = true;
  const absl::Status status = Convert(base_.path(), out_ / "m").status();
  EXPECT_THAT(status, IsError(absl::StatusCode::kDataLoss,
                              "model.safetensors: tensor '" + tensors_[2].first));
  EXPECT_THAT(ErrorText(status), HasSubstr("(row 5, column 6) is not finite"));
  EXPECT_EQ(out_.FileCount(), 0);
}

TEST_F(ConvertFolderTest, NamesAMatrixWhoseScalesAreTooLargeForDoubleQuantisation) {
  tensors_[2].second.fill_(2e38);
  WriteTensors(base_ / "model.safetensors", tensors_);
  conversion_.write_nf4 = true;
  const absl::Status status = Convert(base_.path(), out_ / "m").status();
  EXPECT_THAT(status, IsError(absl::StatusCode::kDataLoss,
                              "model.safetensors: tensor '" + tensors_[2].first));
  EXPECT_THAT(ErrorText(status), HasSubstr("blocks is beyond float32"));
  EXPECT_EQ(out_.FileCount(), 0);
  conversion_.nf4.double_quant = false;
  EXPECT_TRUE(Convert(base_.path(), out_ / "m").ok());
}

TEST_F(ConvertFolderTest, RefusesMatricesThatDoNotAgree) {
  conversion_.write_nf4 = true;
  ASSERT_TRUE(Convert(base_.path(), out_ / "a").ok());
  conversion_.nf4.block_size = 128;
  ASSERT_TRUE(Convert(base_.path(), out_ / "b").ok());
  // One matrix, with all that belongs to it, from the other folder.
  const auto a = OpenSource(out_ / "a"), b = OpenSource(out_ / "b");
  NamedTensors mixed;
  for (const std::string& name : a->files->Names()) {
    const bool swap = name.starts_with(kUp);
    const SafetensorsFolder& files = swap ? *b->files : *a->files;
    const SafetensorsEntry* entry = files.Find(name);
    const at::ScalarType dtype = entry->dtype == SafetensorsDtype::kU8     ? at::kByte
                                 : entry->dtype == SafetensorsDtype::kBF16 ? at::kBFloat16
                                                                           : at::kFloat;
    at::Tensor value = at::empty(entry->shape, dtype);
    ASSERT_TRUE(files.ReadBytes(name, 0, entry->size_bytes, value.data_ptr()).ok());
    mixed.emplace_back(name, value);
  }
  WriteTensors(out_ / "a/model.safetensors", mixed);
  EXPECT_THAT(ErrorText(OpenSource(out_ / "a")),
              HasSubstr(std::string(kUp) + ".weight' is quantised with blocksize 128"));
}

}  // namespace
}  // namespace fttrain
