#include "model/files/equal_rows.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "model/config/model_config.h"
#include "model/files/convert_folder.h"
#include "tests/model/written_model.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A llama with a head of `rows` x 8 and what else opening needs nothing of.
ModelSpec Model(int64_t rows, bool tied = false) {
  const std::string config = absl::Substitute(
      R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
          "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
          "max_position_embeddings": 16, "vocab_size": $0, "tie_word_embeddings": $1})",
      rows, tied ? "true" : "false");
  return ParseModelConfig(config, "config.json").value();
}

at::Tensor Head(int64_t rows, at::ScalarType dtype = at::kBFloat16) {
  at::manual_seed(3);
  return at::randn({rows, 8}).to(dtype);
}

std::vector<EqualRows> Find(const at::Tensor& head, const std::vector<int64_t>& rows,
                            const std::string& name = "lm_head.weight") {
  const WrittenModel written({{"other", at::zeros({3})}, {name, head}});
  const ModelSpec model = Model(head.size(0), name != "lm_head.weight");
  const auto found = FindEqualHeadRows(written.folder(), model, rows);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.value_or(std::vector<EqualRows>());
}

TEST(EqualHeadRows, AreNoneWhereAllRowsDiffer) {
  EXPECT_THAT(Find(Head(50), {0, 7, 49}), IsEmpty());
  at::Tensor close = Head(50);
  close[7] = close[9];
  close[7][7] = close[7][7] + 1;  // the last element
  EXPECT_THAT(Find(close, {7}), IsEmpty());
  EXPECT_THAT(Find(Head(50), {}), IsEmpty());
}

TEST(EqualHeadRows, AreFoundWhereverTheyStandInEveryDtype) {
  for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}) {
    at::Tensor head = Head(50, dtype);
    head[7] = head[49];
    head[0] = head[49];
    head[30] = head[31];
    const auto found = Find(head, {7, 12, 30});
    ASSERT_EQ(found.size(), 2);
    EXPECT_EQ(found[0].row, 7);
    EXPECT_FALSE(found[0].zero);
    EXPECT_THAT(found[0].others, ElementsAre(0, 49));
    EXPECT_EQ(found[0].others_in_all, 2);
    EXPECT_EQ(found[1].row, 30);
    EXPECT_THAT(found[1].others, ElementsAre(31));
  }
}

TEST(EqualHeadRows, OfATiedHeadAreTheEmbeddings) {
  at::Tensor table = Head(50);
  table[7] = table[9];
  EXPECT_EQ(Find(table, {7}, "model.embed_tokens.weight").size(), 1);
}

TEST(EqualHeadRows, ThatAreZeroAreTold) {
  for (const double zero : {0.0, -0.0}) {
    at::Tensor head = Head(50, at::kHalf);
    head[7].fill_(zero);
    const auto found = Find(head, {7, 8});
    ASSERT_EQ(found.size(), 1);
    EXPECT_TRUE(found[0].zero);
    EXPECT_THAT(found[0].others, IsEmpty());
  }
  at::Tensor almost = at::zeros({50, 8});
  almost[7][3] = 1e-40;
  EXPECT_THAT(Find(almost, {7}), IsEmpty());
}

TEST(EqualHeadRows, OfALargeHeadAreCountedAcrossPieces) {
  const int64_t rows = (int64_t{20} << 20) / 16 + 5;  // 20 MiB and a part of a piece
  at::Tensor head = at::arange(rows * 8, at::kFloat).view({rows, 8});
  for (int64_t k = 0; k < 20; ++k) head[rows - 1 - k * 60000] = head[3];
  const auto found = Find(head, {3, 4});
  ASSERT_EQ(found.size(), 1);
  EXPECT_EQ(found[0].others_in_all, 20);
  EXPECT_EQ(found[0].others.size(), EqualRows::kMostOthers);
  EXPECT_EQ(found[0].others[0], rows - 1 - 19 * 60000);
}

TEST(EqualHeadRows, LeaveAHeadThatLoadingRefusesToLoading) {
  const WrittenModel written({{"lm_head.weight", at::zeros({50, 9})}});
  EXPECT_THAT(*FindEqualHeadRows(written.folder(), Model(50), {7}), IsEmpty());
  EXPECT_THAT(*FindEqualHeadRows(written.folder(), Model(50, true), {7}), IsEmpty());
  const WrittenModel nf4({{"lm_head.weight", at::zeros({50, 8}).to(at::kBFloat16)},
                          {"lm_head.weight.absmax", at::zeros({4})}});
  EXPECT_THAT(*FindEqualHeadRows(nf4.folder(), Model(50), {7}), IsEmpty());
}

TEST(EqualHeadRows, OfAFileThatEndsEarlyAreItsError) {
  const WrittenModel written({{"lm_head.weight", Head(50)}});
  std::filesystem::resize_file(written.file(), std::filesystem::file_size(written.file()) - 8);
  EXPECT_EQ(FindEqualHeadRows(written.folder(), Model(50), {7}).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace fttrain
