// The bytes of a run's result beside those of the files that are written.
#include "launch/plan/bytes.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <limits>

#include "launch/run/metrics.h"
#include "model/files/adapter.h"
#include "tests/model/tiny_llama.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

constexpr int64_t kSmallFiles = 16 << 10;

int64_t BytesIn(const std::string& folder) {
  int64_t bytes = 0;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    bytes += static_cast<int64_t>(item.file_size());
  }
  return bytes;
}

TEST(ResultBytes, AreAtLeastThoseOfTheAdapterAndHardlyMore) {
  Task task;
  task.model = LlamaLike(TinyLlama(3));
  task.form.adapter = AdapterForm{.r = 32, .target_modules = {{"q_proj", "down_proj"}}};
  std::vector<AdapterTensor> tensors;
  const std::vector<TensorSpec> specs = AdapterTensors(task.model, *task.form.adapter);
  for (const TensorSpec& spec : specs) {
    tensors.push_back({spec.name, at::zeros(spec.shape)});
  }
  const TempFolder folder;
  ASSERT_TRUE(WriteAdapter(folder.path(), *task.form.adapter, tensors).ok());
  const int64_t written = BytesIn(folder.path());
  EXPECT_GE(ResultBytes(task), written);
  EXPECT_LE(ResultBytes(task), written + kSmallFiles + 160 * static_cast<int64_t>(tensors.size()));
}

TEST(ResultBytes, OfAllWeightsAreThoseOfTheTypeTheyAreSavedIn) {
  Task task;
  task.model = LlamaLike(TinyLlama(2));
  task.form.train_base = true;
  int64_t elements = 0;
  for (const TensorSpec& spec : ModelTensors(task.model)) {
    int64_t numel = 1;
    for (const int64_t dim : spec.shape) numel *= dim;
    elements += numel;
  }
  task.form.compute = at::kFloat;
  const int64_t in_float = ResultBytes(task);
  task.form.compute = at::kBFloat16;
  EXPECT_EQ(in_float - ResultBytes(task), 2 * elements);
  EXPECT_GT(ResultBytes(task), 2 * elements);
}

TEST(ResultBytes, HaveALineForEachStep) {
  Task task;
  task.model = LlamaLike(TinyLlama(1));
  task.form.train_base = true;
  const int64_t without = ResultBytes(task);
  task.steps = 1000;
  StepMetrics longest;
  longest.step = longest.tokens = longest.target_tokens = 9'999'999'999;
  longest.loss = longest.grad_norm = longest.seconds = 1.0 / 3;
  longest.learning_rate = std::numeric_limits<double>::min() / 3;
  longest.peak_bytes = 999'999'999'999;
  longest.reserved_bytes = 999'999'999'999;
  longest.router_loss = 1.0 / 3;
  EXPECT_GE((ResultBytes(task) - without) / 1000,
            static_cast<int64_t>(ToJsonLine(longest).size()) + 1);
}

}  // namespace
}  // namespace fttrain
