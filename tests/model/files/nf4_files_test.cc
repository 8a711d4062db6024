// NF4 matrices from files: quantised while reading, and read from bitsandbytes' form. With
// FTTRAIN_TEST_DEVICE=cuda onto the GPU.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "model/files/nf4_folder.h"
#include "model/files/nf4_loader.h"
#include "model/files/slice_reader.h"
#include "model/files/weight_loader.h"
#include "tests/model/nf4_matrices.h"
#include "tests/model/written_model.h"
#include "tests/status_text.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kName[] = "model.layers.0.mlp.up_proj.weight";

at::Tensor Weights(at::IntArrayRef shape) {
  return (at::arange(c10::multiply_integers(shape), at::kDouble) * 0.7).sin().view(shape) * 0.02;
}

std::vector<ParamSlice> Slices(const std::string& name, const std::vector<int64_t>& shape, int tp) {
  std::vector<ParamSlice> slices;
  for (const int dim : {0, 1}) {
    for (int rank = 0; rank < tp; ++rank) {
      const Range range = EvenRange(shape[dim], tp, rank);
      slices.push_back(SlicedParam(name, shape, dim, range.offset, range.extent));
    }
  }
  return slices;
}

// The two forms of scales, on blocks that rows of 96 straddle.
const std::vector<Nf4Options>& Forms() {
  static const std::vector<Nf4Options> forms = {{64, true, at::kFloat}, {64, false, at::kBFloat16}};
  return forms;
}

TEST(LoadQuantizing, EverySliceHoldsItsPartOfTheWholeMatrix) {
  const std::vector<int64_t> shape = {40, 96};
  const WrittenModel model({{kName, Weights(shape).to(at::kFloat)}});
  for (const Nf4Options& options : Forms()) {
    const Nf4Matrix whole = EmptyNf4(WholeParam(kName, shape), options, TestDevice());
    ASSERT_TRUE(LoadQuantizing(model.folder(), kName, shape, whole).ok());
    const at::Tensor want = DequantizedNf4(whole);
    for (const int tp : {2, 4, 8}) {
      for (const ParamSlice& slice : Slices(kName, shape, tp)) {
        const Nf4Matrix part = EmptyNf4(slice, options, TestDevice());
        ASSERT_TRUE(LoadQuantizing(model.folder(), kName, shape, part).ok());
        EXPECT_TRUE(
            at::equal(DequantizedNf4(part), want.narrow(slice.dim, slice.offset, slice.extent)))
            << "tp " << tp << ", dim " << slice.dim << ", offset " << slice.offset;
      }
    }
  }
}

TEST(LoadQuantizing, TakesValuesOfEveryDtypeRoundedToTheOneThatIsDequantisedTo) {
  const std::vector<int64_t> shape = {12, 100};  // the last block is short
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    const at::Tensor values = Weights(shape).to(dtype);
    const WrittenModel model({{kName, values}});
    for (const at::ScalarType rounding : {at::kFloat, at::kBFloat16}) {
      const Nf4Matrix matrix = EmptyNf4(WholeParam(kName, shape), {64, false, rounding});
      ASSERT_TRUE(LoadQuantizing(model.folder(), kName, shape, matrix).ok());
      const at::Tensor codes = at::empty({600}, at::kByte), absmax = at::empty({19});
      QuantizeNf4Blocks(values.to(rounding).view({-1}), 64, codes, absmax);
      EXPECT_TRUE(at::equal(matrix.bytes.narrow(0, 0, 600), codes)) << dtype << rounding;
      const at::Tensor scales = matrix.bytes.narrow(0, matrix.layout.scales_begin, 19 * 4);
      EXPECT_TRUE(at::equal(scales.view(at::kFloat), absmax)) << dtype << rounding;
    }
  }
}

TEST(LoadQuantizing, JoinsThePiecesOfAMatrixLargerThanOne) {
  const std::vector<int64_t> shape = {5 * LoadPieceBytes(TestDevice()) / 2 / 2 / 1000, 1000};
  const at::Tensor values = Weights(shape).to(at::kBFloat16);
  const WrittenModel model({{kName, values}});
  const Nf4Options options{64, true, at::kBFloat16};
  const Nf4Matrix matrix = EmptyNf4(WholeParam(kName, shape), options, TestDevice());
  ASSERT_TRUE(LoadQuantizing(model.folder(), kName, shape, matrix).ok());

  const Nf4Matrix want = QuantizedNf4(values, WholeParam(kName, shape), options);
  EXPECT_TRUE(at::equal(matrix.bytes.cpu(), want.bytes));
}

TEST(LoadQuantizing, NamesFileTensorAndElementOfAValueThatIsNotFinite) {
  const std::vector<int64_t> shape = {8, 64};
  for (const double bad : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const at::Tensor values = Weights(shape).to(at::kBFloat16);
    values[3][7] = bad;
    values[5][1] = bad;
    const WrittenModel model({{kName, values}});
    const Nf4Matrix half =
        EmptyNf4(SlicedParam(kName, shape, 0, 0, 2), {64, true, at::kFloat}, TestDevice());
    const absl::Status status = LoadQuantizing(model.folder(), kName, shape, half);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(ErrorText(status), model.file() + ": tensor '" + kName +
                                     "': element 199 (row 3, column 7) is not finite");
  }
}

TEST(LoadQuantizing, RefusesAnotherShapeAndAFileThatIsTooShort) {
  const WrittenModel model({{kName, Weights({8, 64})}});
  const Nf4Matrix matrix = EmptyNf4(WholeParam(kName, {8, 64}), {});
  EXPECT_THAT(ErrorText(LoadQuantizing(model.folder(), kName, {64, 8}, matrix)),
              HasSubstr("has shape [8, 64], expected [64, 8]"));
  std::filesystem::resize_file(model.file(), std::filesystem::file_size(model.file()) - 8);
  EXPECT_EQ(LoadQuantizing(model.folder(), kName, {8, 64}, matrix).code(),
            absl::StatusCode::kDataLoss);
}

// A folder whose one matrix is in bitsandbytes' form, spelt out here from the format alone.
class QuantizedFile : public testing::Test {
 protected:
  static constexpr int64_t kOut = 20, kIn = 96, kBlocks = 30;

  QuantizedFile() {
    const at::Tensor values = Weights({kOut, kIn}).to(at::kFloat).view({-1});
    const at::Tensor absmax = at::empty({kBlocks});
    codes_ = at::empty({kOut * kIn / 2}, at::kByte);
    QuantizeNf4Blocks(values, 64, codes_, absmax);
    scales_ = QuantizeAbsmax(absmax);
    state_ = {{"quant_type", "nf4"},
              {"blocksize", 64},
              {"dtype", "bfloat16"},
              {"shape", {kOut, kIn}},
              {"nested_blocksize", 256},
              {"nested_dtype", "float32"},
              {"nested_offset", scales_.offset}};
  }

  NamedTensors Tensors() const {
    const std::string name = kName, json = state_.dump();
    const at::Tensor state = at::empty({static_cast<int64_t>(json.size())}, at::kByte);
    std::copy(json.begin(), json.end(), state.data_ptr<uint8_t>());
    return {{name, codes_.view({-1, 1})},
            {name + ".absmax", scales_.codes},
            {name + ".nested_absmax", scales_.groups},
            {name + ".quant_map", Nf4CodeValues()},
            {name + ".nested_quant_map", Nf4ScaleValues()},
            {name + ".quant_state.bitsandbytes__nf4", state}};
  }
  static std::string Complaint(const NamedTensors& tensors) {
    const WrittenModel model(tensors);
    const auto state = ReadNf4State(model.folder(), kName, {kOut, kIn});
    EXPECT_THAT(ErrorText(state), HasSubstr(model.path()));
    EXPECT_THAT(ErrorText(state), HasSubstr(std::string(": tensor '") + kName));
    return ErrorText(state);
  }
  std::string ComplaintOfState(const char* key, const Json& value) {
    const Json kept = state_;
    state_[key] = value;
    const std::string complaint = Complaint(Tensors());
    state_ = kept;
    return complaint;
  }

  at::Tensor codes_;
  Nf4Scales scales_;
  Json state_;
};

TEST_F(QuantizedFile, GivesEverySliceItsPart) {
  const WrittenModel model(Tensors());
  const auto state = ReadNf4State(model.folder(), kName, {kOut, kIn}).value();
  EXPECT_EQ(state.options.block_size, 64);
  EXPECT_TRUE(state.options.double_quant);
  EXPECT_EQ(state.options.rounding, at::kBFloat16);
  EXPECT_EQ(state.offset, scales_.offset);

  const Nf4Matrix whole = EmptyNf4(WholeParam(kName, {kOut, kIn}), state.options);
  StoreNf4Codes(whole, 0, kOut * kIn, codes_);
  StoreNf4Scales(whole, scales_);
  const at::Tensor want = DequantizedNf4(whole);
  for (const int tp : {1, 2, 3, 4}) {
    for (const ParamSlice& slice : Slices(kName, {kOut, kIn}, tp)) {
      const Nf4Matrix part = EmptyNf4(slice, state.options, TestDevice());
      const absl::Status status = LoadNf4(model.folder(), kName, {kOut, kIn}, part);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_TRUE(at::equal(DequantizedNf4(part).cpu(),
                            want.narrow(slice.dim, slice.offset, slice.extent)));
    }
  }
}

TEST_F(QuantizedFile, MayHoldTheBytesUnderAFloatingDtype) {
  NamedTensors tensors = Tensors();
  tensors[0].second = codes_.view(at::kBFloat16).view({-1, 1});
  const WrittenModel model(tensors);
  const Nf4Matrix matrix = EmptyNf4(WholeParam(kName, {kOut, kIn}), {64, true, at::kBFloat16});
  ASSERT_TRUE(LoadNf4(model.folder(), kName, {kOut, kIn}, matrix).ok());
  EXPECT_TRUE(at::equal(matrix.bytes.narrow(0, 0, codes_.numel()), codes_));
}

TEST_F(QuantizedFile, IsRefusedByKeyWhereAPartIsMissing) {
  for (size_t i = 0; i < Tensors().size(); ++i) {
    NamedTensors tensors = Tensors();
    const std::string name = tensors[i].first;
    tensors.erase(tensors.begin() + static_cast<int64_t>(i));
    EXPECT_THAT(Complaint(tensors), HasSubstr("'" + name + "' is missing"));
  }
}

TEST_F(QuantizedFile, IsRefusedByKeyWhereTheStateIsNotNf4sOrNotThisMatrixs) {
  EXPECT_THAT(ComplaintOfState("quant_type", "fp4"), HasSubstr("'quant_type' is 'fp4', not nf4"));
  EXPECT_THAT(ComplaintOfState("blocksize", 48),
              HasSubstr("'blocksize' is 48, not a power of two"));
  EXPECT_THAT(ComplaintOfState("blocksize", nullptr), HasSubstr("'blocksize' is missing"));
  EXPECT_THAT(ComplaintOfState("blocksize", 128),
              HasSubstr(".absmax' is U8 [30], expected U8 [15]"));
  EXPECT_THAT(ComplaintOfState("dtype", "float8"), HasSubstr("'dtype' is 'float8'"));
  EXPECT_THAT(ComplaintOfState("shape", {96, 20}),
              HasSubstr("'shape' is [96,20], the model's is [20, 96]"));
  EXPECT_THAT(ComplaintOfState("nested_blocksize", 128),
              HasSubstr("'nested_blocksize' must be 256"));
  EXPECT_THAT(ComplaintOfState("nested_dtype", "float16"), HasSubstr("'nested_dtype'"));
  EXPECT_THAT(ComplaintOfState("nested_offset", "x"),
              HasSubstr("'nested_offset' must be a finite"));
}

TEST_F(QuantizedFile, IsRefusedWhereAPartHasAnotherSizeOrOtherValues) {
  const auto with = [&](size_t index, const at::Tensor& value) {
    NamedTensors tensors = Tensors();
    tensors[index].second = value;
    return Complaint(tensors);
  };
  EXPECT_THAT(with(0, at::zeros({959, 1}, at::kByte)),
              HasSubstr("has 959 bytes; [20, 96] in 4 bits has 960"));
  EXPECT_THAT(with(1, at::zeros({kBlocks})), HasSubstr(".absmax' is F32 [30], expected U8 [30]"));
  EXPECT_THAT(with(2, at::zeros({2})), HasSubstr(".nested_absmax' is F32 [2], expected F32 [1]"));
  EXPECT_THAT(with(3, at::linspace(-1, 1, 16)), HasSubstr(".quant_map' holds other values"));
  EXPECT_THAT(with(4, Nf4ScaleValues().flip(0)),
              HasSubstr(".nested_quant_map' holds other values"));
  EXPECT_THAT(with(5, at::full({10}, '{', at::kByte)), HasSubstr("quant_state.bitsandbytes__nf4"));
}

TEST_F(QuantizedFile, WithScalesThatAreNotFiniteIsNotLoaded) {
  scales_.groups.fill_(std::nan(""));
  const WrittenModel model(Tensors());
  const Nf4Matrix matrix = EmptyNf4(WholeParam(kName, {kOut, kIn}), {64, true, at::kBFloat16});
  const absl::Status status = LoadNf4(model.folder(), kName, {kOut, kIn}, matrix);
  EXPECT_THAT(status, IsError(absl::StatusCode::kDataLoss,
                              ".nested_absmax' holds a value that is not finite"));
}

}  // namespace
}  // namespace fttrain
