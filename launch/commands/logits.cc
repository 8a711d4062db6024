#include <ATen/ATen.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/formats/dataset.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/run/evaluation.h"
#include "runtime/files/safetensors.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::StatusOr<std::vector<Example>> ReadRows(const CommandLine& line, int64_t vocab_size) {
  DatasetOptions options;
  options.vocab_size = vocab_size;
  FT_ASSIGN_OR_RETURN(Dataset rows, LoadDataset({line.Get("input"), RowFormat::kTokens}, options));
  return std::move(rows.examples);
}

int64_t Longest(const std::vector<Example>& rows) {
  size_t longest = 0;
  for (const Example& row : rows) longest = std::max(longest, row.input_ids.size());
  return static_cast<int64_t>(longest);
}

// Null on every rank but the first.
absl::StatusOr<std::unique_ptr<SafetensorsWriter>> CreateOutput(const CommandLine& line,
                                                                const std::vector<Example>& rows,
                                                                int64_t vocab_size,
                                                                const Process& process) {
  if (process.rank() != 0) return nullptr;
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (size_t i = 0; i < rows.size(); ++i) {
    tensors.push_back({absl::StrCat("row_", i),
                       SafetensorsDtype::kF32,
                       {static_cast<int64_t>(rows[i].input_ids.size()), vocab_size}});
  }
  return SafetensorsWriter::Create(line.Get("output"), tensors, {});
}

}  // namespace

absl::Status LogitsCommand(const CommandLine& line, const Process& process) {
  if (!line.Has("input") || !line.Has("output")) {
    return process.AgreeOnStatus(absl::InvalidArgumentError(
        "'logits' needs --input=ROWS.jsonl and --output=FILE.safetensors"));
  }
  FT_ASSIGN_OR_RETURN(const EvaluationSetup setup, PrepareEvaluation(line, process));
  const int64_t vocab_size = setup.task.model.vocab_size;
  const absl::StatusOr<std::vector<Example>> rows = FromFile(ReadRows(line, vocab_size));
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(rows.status()));
  const int64_t longest = Longest(*rows);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(
      CheckPositions(setup.task.model, longest, "the longest row of --input has", "shorten it")));
  auto output = CreateOutput(line, *rows, vocab_size, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(output.status()));

  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                      LoadForEvaluation(setup, longest, process));
  absl::Status written;
  for (const Example& row : *rows) {
    const ModelBatch batch = EvaluationBatch(row.input_ids, setup);
    const at::Tensor all = at::arange(static_cast<int64_t>(row.input_ids.size()),
                                      at::TensorOptions(at::kLong).device(setup.device));
    const at::Tensor logits =
        network->transformer->Logits(batch, all).to(at::kCPU, at::kFloat).contiguous();
    if (*output != nullptr && written.ok())
      written = (*output)->Append(logits.data_ptr(), logits.nbytes());
  }
  if (*output != nullptr && written.ok()) written = (*output)->Finish();
  return process.AgreeOnStatus(written);
}

}  // namespace fttrain
