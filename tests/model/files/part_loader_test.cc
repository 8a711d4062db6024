// Parameters that are a part of a file's tensor, among them experts in MXFP4 as transformers reads
// them (tests/golden/mxfp4.json).
#include "model/files/part_loader.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "model/files/mxfp4_folder.h"
#include "model/linears/parameters.h"
#include "model/matmul/tensor_rows.h"
#include "tests/golden_path.h"
#include "tests/model/nf4_matrices.h"
#include "tests/model/written_model.h"
#include "tests/status_text.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Expert 2 of 3, [5, 8], in every other of ten columns.
LinearSpec Gate() {
  return {.name = "experts.2.up",
          .in = 8,
          .out = 5,
          .bias = true,
          .stack = LinearSpec::Stack{"m.gate_up_proj", 2, 3, 1, 2, 10, true}};
}

TEST(TensorPart, IsNamedAfterItsTensorAndWhereItLies) {
  const LinearNames names(Gate());
  EXPECT_EQ(names.weight, "m.gate_up_proj[3x8x10@161+2+10]");
  EXPECT_EQ(names.bias, "m.gate_up_proj_bias[3x10@21+2]");
  const std::optional<TensorPart> part = PartOfName(names.weight);
  ASSERT_TRUE(part);
  EXPECT_EQ(part->tensor, "m.gate_up_proj");
  EXPECT_THAT(part->shape, ElementsAre(3, 8, 10));
  EXPECT_EQ(part->first, 161);
  EXPECT_THAT(part->strides, ElementsAre(2, 10));
  EXPECT_EQ(NameOfPart(*part), names.weight);
  EXPECT_EQ(TensorOfName(names.weight), "m.gate_up_proj");
  EXPECT_EQ(TensorOfName("w[1:2/3]"), "w");
  EXPECT_EQ(TensorOfName("w"), "w");
  EXPECT_FALSE(RowsOfName(names.weight));
  for (const char* other : {"w", "w[1:2/3]", "w[3x4]", "w[3@]", "w[3x@1+2]", "w[3@1+2].x"}) {
    EXPECT_FALSE(PartOfName(other)) << other;
  }
  const ParamSlice slice = SlicedParam(names.weight, {5, 8}, 1, 3, 2);
  EXPECT_EQ(PartOfSlice(*part, slice).first, 161 + 30);
  EXPECT_EQ(SliceInFile(slice).name, names.weight);
}

TEST(LoadPart, ReadsEverySliceOfOneOfAStack) {
  const at::Tensor stack = at::arange(3 * 8 * 10, at::kFloat).view({3, 8, 10});
  const at::Tensor biases = at::arange(30, at::kFloat).view({3, 10});
  const WrittenModel model({{"m.gate_up_proj", stack}, {"m.gate_up_proj_bias", biases}});
  const LinearNames names(Gate());
  const auto loaded = [&](const ParamSlice& slice, at::ScalarType to) {
    const at::Tensor out =
        at::empty(slice.LocalShape(), at::TensorOptions(to).device(TestDevice()));
    const absl::Status status = LoadPartInto(model.folder(), slice, out);
    EXPECT_TRUE(status.ok()) << status;
    return out.cpu();
  };
  const at::Tensor weight = stack[2].slice(1, 1, 10, 2).t();
  const at::Tensor bias = biases[2].slice(0, 1, 10, 2);
  for (const at::ScalarType to : {at::kFloat, at::kBFloat16, at::kDouble}) {
    EXPECT_TRUE(at::equal(loaded(WholeParam(names.weight, {5, 8}), to), weight.to(to)));
    for (const int dim : {0, 1}) {
      const at::Tensor want = weight.narrow(dim, 2, 3).to(to);
      EXPECT_TRUE(at::equal(loaded(SlicedParam(names.weight, {5, 8}, dim, 2, 3), to), want)) << dim;
    }
    EXPECT_TRUE(at::equal(loaded(WholeParam(names.bias, {5}), to), bias.to(to)));
    EXPECT_TRUE(
        at::equal(loaded(SlicedParam(names.bias, {5}, 0, 3, 2), to), bias.narrow(0, 3, 2).to(to)));
  }
  const WrittenModel other({{"m.gate_up_proj", stack.view({3, 10, 8})}});
  EXPECT_THAT(
      ErrorText(LoadPartInto(other.folder(), WholeParam(names.weight, {5, 8}), at::empty({5, 8}))),
      HasSubstr("has shape [3, 10, 8], expected [3, 8, 10]"));
}

// Some matrix that is read in several pieces.
TEST(LoadPart, QuantisesTheWholeOfItAsAMatrixOfItsOwn) {
  const at::Tensor stack = Randn({2, 96, 3000}, at::kBFloat16, 1).cpu();
  const WrittenModel model({{"m.gate_up_proj", stack}});
  const LinearSpec spec = {.name = "e",
                           .in = 96,
                           .out = 1500,
                           .stack = LinearSpec::Stack{"m.gate_up_proj", 1, 2, 0, 2, 3000, true}};
  const std::string name = LinearNames(spec).weight;
  const Nf4Options options = {.rounding = at::kBFloat16};
  const at::Tensor matrix = stack[1].slice(1, 0, 3000, 2).t().contiguous();
  for (const ParamSlice& slice :
       {WholeParam(name, {1500, 96}), SlicedParam(name, {1500, 96}, 0, 700, 90),
        SlicedParam(name, {1500, 96}, 1, 48, 48)}) {
    const Nf4Layout layout = MakeNf4Layout(slice, options);
    const at::Tensor bytes =
        at::zeros({layout.bytes}, at::TensorOptions(at::kByte).device(TestDevice()));
    const absl::Status status = LoadQuantizingPart(model.folder(), slice, {layout, bytes});
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(at::equal(bytes.cpu(), QuantizedNf4(matrix, slice, options).bytes.cpu()));
  }
  const at::Tensor bad = stack.clone();
  bad.view({-1})[1 * 96 * 3000 + 4] = INFINITY;
  const WrittenModel broken({{"m.gate_up_proj", bad}});
  const Nf4Layout layout = MakeNf4Layout(WholeParam(name, {1500, 96}), options);
  EXPECT_THAT(ErrorText(LoadQuantizingPart(broken.folder(), WholeParam(name, {1500, 96}),
                                           {layout, at::zeros({layout.bytes}, at::kByte)})),
              HasSubstr("holds a value that is not finite"));
}

at::Tensor FromHex(const std::string& hex, at::IntArrayRef shape, at::ScalarType type) {
  at::Tensor bytes = at::empty({static_cast<int64_t>(hex.size() / 2)}, at::kByte);
  auto* const out = bytes.mutable_data_ptr<uint8_t>();
  for (size_t i = 0; i < hex.size() / 2; ++i) {
    out[i] = static_cast<uint8_t>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  }
  return bytes.view(type).view(shape);
}

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  return at::equal(a.contiguous().view(at::kShort), b.contiguous().view(at::kShort));
}

TEST(Mxfp4, IsReadBitForBitAsTransformersReadsIt) {
  std::ifstream file(GoldenPath("mxfp4.json"));
  const auto golden = nlohmann::json::parse(file);
  const auto shape = golden["shape"].get<std::vector<int64_t>>();
  const int64_t count = shape[0], in = shape[1], columns = shape[2];
  const at::Tensor want = FromHex(golden["values"], shape, at::kBFloat16);
  const WrittenModel model(
      {{"m.gate_up_proj_blocks",
        FromHex(golden["blocks"], {count, columns, in / 32, 16}, at::kByte)},
       {"m.gate_up_proj_scales", FromHex(golden["scales"], {count, columns, in / 32}, at::kByte)}});
  EXPECT_TRUE(CheckMxfp4Tensor(model.folder(), "m.gate_up_proj", shape).ok());
  EXPECT_THAT(ErrorText(CheckMxfp4Tensor(model.folder(), "m.gate_up_proj", {2, 64, 60})),
              HasSubstr("expected U8 [2, 60, 2, 16]"));
  EXPECT_THAT(ErrorText(CheckMxfp4Tensor(model.folder(), "m.gate_up_proj", {2, 40, 66})),
              HasSubstr("no whole blocks of 32"));
  for (int64_t expert = 0; expert < count; ++expert) {
    for (const int64_t first : {0, 1}) {
      const LinearSpec spec = {
          .name = "e",
          .in = in,
          .out = columns / 2,
          .stack = LinearSpec::Stack{"m.gate_up_proj", expert, count, first, 2, columns, true}};
      const std::string name = LinearNames(spec).weight;
      const at::Tensor matrix = want[expert].slice(1, first, columns, 2).t();
      const std::vector<int64_t> whole = {columns / 2, in};
      for (const ParamSlice& slice : {WholeParam(name, whole), SlicedParam(name, whole, 0, 5, 20),
                                      SlicedParam(name, whole, 1, 24, 33)}) {
        const at::Tensor out = at::empty(slice.LocalShape(), at::kBFloat16);
        ASSERT_TRUE(LoadPartInto(model.folder(), slice, out).ok());
        EXPECT_TRUE(SameBits(out, slice.PartOf(matrix))) << name;
      }
    }
  }
}

}  // namespace
}  // namespace fttrain
