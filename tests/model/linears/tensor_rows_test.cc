#include "model/matmul/tensor_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/linears/expert_factors.h"
#include "model/linears/parameters.h"
#include "model/linears/peft_names.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;

TEST(TensorRows, AreNamedAfterTheirTensor) {
  const std::string name = NameOfRows({"a.qkv_proj.weight", 40, 60, 80});
  EXPECT_EQ(name, "a.qkv_proj.weight[40:60/80]");
  const std::optional<TensorRows> rows = RowsOfName(name);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->tensor, "a.qkv_proj.weight");
  EXPECT_EQ(rows->begin, 40);
  EXPECT_EQ(rows->end, 60);
  EXPECT_EQ(rows->rows, 80);
  for (const char* other :
       {"a.weight", "a[1:2]", "a[1/2:3]", "a[1:2/x]", "a[1:2/3].b", "]", "[:/]"}) {
    EXPECT_FALSE(RowsOfName(other)) << other;
  }
}

TEST(TensorRows, OfASliceAreTheSlicesInTheFile) {
  const ParamSlice part = SlicedParam("w[40:60/80]", {20, 7}, 0, 10, 10);
  const ParamSlice in_file = SliceInFile(part);
  EXPECT_EQ(in_file.name, "w");
  EXPECT_THAT(in_file.global_shape, ElementsAre(80, 7));
  EXPECT_EQ(in_file.offset, 50);
  EXPECT_EQ(in_file.extent, 10);
  const ParamSlice all = SliceInFile(WholeParam("w[40:60/80]", {20}));
  EXPECT_EQ(all.offset, 40);
  EXPECT_EQ(all.extent, 20);
  EXPECT_EQ(SliceInFile(WholeParam("w", {20})).dim, -1);
  EXPECT_THROW(SliceInFile(SlicedParam("w[40:60/80]", {20, 7}, 1, 0, 3)), c10::Error);
}

// q of 40 rows, k and v of 20 in heads of 10, which four ranks share by twos.
TEST(TensorRows, ArePartsOfAFusedModuleThatHaveOneFactorA) {
  const auto part = [](int64_t offset, int64_t out) {
    return LinearSpec{.name = "m.qkv_proj part at " + std::to_string(offset),
                      .in = 8,
                      .out = out,
                      .unit = 10,
                      .may_share = true,
                      .part = LinearSpec::Part{"m.qkv_proj", 80, offset}};
  };
  ParameterForm form;
  form.adapter = {.r = 4, .target_modules = {{"qkv_proj"}}};
  ParameterSet set;
  for (const LinearSpec& spec : {part(0, 40), part(40, 20), part(60, 20)}) {
    DeclareLinear(spec, form, {3, 4}, set);
  }
  const auto slice = [&](const std::string& name) { return set.Get(name)->slice; };
  EXPECT_EQ(slice("m.qkv_proj.weight[0:40/80]").offset, 30);
  EXPECT_EQ(SliceInFile(slice("m.qkv_proj.weight[60:80/80]")).offset, 70);
  EXPECT_EQ(set.Get("m.qkv_proj.weight[60:80/80]")->placement.tp, AxisGradient::kShared);
  const std::string b = PeftName("m.qkv_proj", Factor::kB) + "[40:60/80]";
  EXPECT_THAT(slice(b).LocalShape(), ElementsAre(10, 4));
  EXPECT_EQ(ParsePeftName(b)->module, "m.qkv_proj");
  EXPECT_EQ(ParsePeftName(b)->factor, Factor::kB);
  EXPECT_EQ(set.Get(PeftName("m.qkv_proj", Factor::kA))->placement.tp, AxisGradient::kPartial);
  EXPECT_EQ(set.all().size(), 7) << "three matrices, one A, three parts of B";
}

// As PEFT 0.21.2 has them of two parameters of four experts: their rows and columns.
TEST(ExpertFactors, ArePartsOfThoseThatAParameterHas) {
  const auto linear = [](const char* leaf, int64_t out, int64_t first, int64_t columns) {
    return LinearSpec{
        .name = "m.experts.2",
        .in = 6,
        .out = out,
        .stack = LinearSpec::Stack{std::string("m.experts.") + leaf, 2, 4, first, 1, columns},
        .role = LinearRole::kExpert};
  };
  const LinearSpec gate = linear("gate_up_proj", 5, 0, 10), up = linear("gate_up_proj", 5, 5, 10);
  AdapterForm both = {.r = 3, .target_parameters = {"experts.gate_up_proj", "experts.down_proj"}};
  const FactorNames of_gate(gate, both), of_up(up, both);
  const std::string nested = "base_model.model.m.experts.base_layer.lora_";
  EXPECT_EQ(of_gate.a, nested + "A.weight[12x6@36+6+1]") << "rows 2 r, 2 r + 1, ...";
  EXPECT_EQ(of_gate.b, nested + "B.weight[10x12@2+12+4]") << "columns 2, 2 + 4, ...";
  EXPECT_EQ(of_up.a, of_gate.a);
  EXPECT_EQ(of_up.b, nested + "B.weight[10x12@62+12+4]");
  EXPECT_TRUE(HasFactorA(gate));
  EXPECT_FALSE(HasFactorA(up));
  EXPECT_EQ(ParsePeftName(of_up.b)->factor, Factor::kB);
  const LinearSpec down = linear("down_proj", 8, 0, 8);
  const std::string outer = "base_model.model.m.experts.lora_A.weight";
  EXPECT_EQ(ParameterFactorName("m.experts.down_proj", both, Factor::kA), outer);
  both.target_parameters.pop_back();
  EXPECT_EQ(ParameterFactorName("m.experts.gate_up_proj", both, Factor::kA), outer)
      << "alone it has the name of the last";
  both.target_parameters = {"x.down_proj"};
  EXPECT_FALSE(both.OnParameter("m.experts.down_proj"));
}

}  // namespace
}  // namespace fttrain
