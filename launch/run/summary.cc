#include "launch/run/summary.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/plan/paths.h"
#include "launch/run/numbers.h"
#include "model/linears/adapter_modules.h"
#include "model/matmul/matmul.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Shares are of the tokens that were read.
std::string Cut(const DatasetSummary& data, int64_t sequence_len) {
  const int64_t all = data.tokens + data.cut_tokens + data.dropped_tokens;
  const auto tokens = [&](int64_t n) {
    return absl::StrCat(Counted(n, "token"), ", ", Share(n, all));
  };
  std::string text;
  if (data.truncated > 0) {
    absl::StrAppend(&text, "; ", data.truncated, " of ", data.examples, " examples cut to ",
                    sequence_len, " tokens (the longest has ", data.longest,
                    "): ", tokens(data.cut_tokens), " left out");
  }
  if (data.dropped > 0) {
    absl::StrAppend(&text, "; ", data.dropped, " dropped (", tokens(data.dropped_tokens),
                    "): no target left once cut");
  }
  return text;
}

// "columns not used: id (1,200 rows), source (1,200)". Of more than fit, as where a row's own name
// is a key of it, those of the most rows.
std::string Unused(const std::map<std::string, int64_t>& unused) {
  constexpr size_t kMostColumns = 20;
  std::vector<std::pair<std::string, int64_t>> all(unused.begin(), unused.end());
  const size_t told = std::min(all.size(), kMostColumns);
  if (told < all.size()) {
    std::stable_sort(all.begin(), all.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
  }
  const size_t left = all.size() - told;
  all.resize(told);
  std::vector<std::string> columns;
  for (const auto& [key, rows] : all) {
    columns.push_back(columns.empty() ? absl::StrCat(key, " (", Counted(rows, "row"), ")")
                                      : absl::StrCat(key, " (", WithCommas(rows), ")"));
  }
  return absl::StrCat("columns not used: ", absl::StrJoin(columns, ", "),
                      left == 0 ? "" : absl::StrCat(", ... and ", WithCommas(left), " more"));
}

// "; the last has the 1 row left of the run's 9", where the epochs end within a step.
std::string ShortStep(const Task& task, const DatasetSummary& data) {
  const int64_t rows = RowsOfStep(data, task.steps - 1, task.rows_per_step);
  if (rows == task.rows_per_step) return "";
  return absl::StrCat("; the last has the ", rows, rows == 1 ? " row" : " rows",
                      " left of the run's ", data.stream_rows);
}

// "fp32", "bf16"; on the CPU also what multiplies bfloat16 here.
std::string Precision(const Task& task, c10::Device device) {
  if (task.form.compute == at::kFloat) return "fp32";
  if (!device.is_cpu()) return "bf16";
  return absl::StrCat("bf16 (", Bf16GemmName(DefaultBf16Gemm()), " GEMM)");
}

// How an NF4 base is stored, bits a parameter.
std::string FormOfBase(const Task& task, const Layout& layout, const ParameterCounts& parameters) {
  constexpr size_t kMostNames = 6;
  std::string text = absl::StrFormat(
      "base       nf4, blocks of %d, %s scales: %d matrices at %.3f bits a parameter",
      task.form.nf4->block_size, task.form.nf4->double_quant ? "8-bit" : "fp32",
      parameters.nf4_matrices,
      8.0 * static_cast<double>(parameters.nf4_bytes) /
          static_cast<double>(std::max<int64_t>(1, parameters.nf4_elements)));
  if (HasExperts(task.model)) {
    absl::StrAppend(&text, task.form.nf4_experts ? ", experts' too" : ", experts' not",
                    " (adapter.quantization.experts)");
  }
  std::vector<std::string> dense = parameters.dense_frozen;
  for (std::string& name : dense) {
    if (layout.embedding == Place::kHost && name == "model.embed_tokens") name += " (on the host)";
  }
  const size_t more = dense.size() > kMostNames ? dense.size() - kMostNames : 0;
  dense.resize(dense.size() - more);
  if (dense.empty()) return text;
  absl::StrAppend(&text, "; in ", task.form.compute == at::kBFloat16 ? "bf16" : "fp32", ": ",
                  absl::StrJoin(dense, ", "));
  if (more > 0) absl::StrAppend(&text, " and ", more, " more");
  return text;
}

// Which modules of which layers have which adapter, and whose settings these are.
std::string FormOfAdapter(const Task& task) {
  const AdapterForm& lora = *task.form.adapter;
  std::set<int64_t> ranks;
  std::vector<std::string> modules;
  for (const TensorSpec& factor : AdapterTensors(task.model, lora)) {
    if (!modules.empty() && modules.back() == factor.module) continue;
    modules.push_back(factor.module);
    const bool parameter = factor.role == LinearRole::kExpert;
    ranks.insert((parameter ? lora.OnParameter(factor.module) : lora.On(factor.module))->r);
  }
  return absl::StrFormat(
      "adapter    lora r %s, alpha %g%s%s, dropout %g on %s%s", absl::StrJoin(ranks, ", "),
      lora.alpha, lora.alpha_pattern.empty() ? "" : " (or alpha_pattern's)",
      lora.use_rslora ? " (rslora)" : "", lora.dropout,
      DescribeModules(modules, task.model.num_layers()),
      task.init_from.empty()
          ? ""
          : absl::StrCat("; from ", task.init_from, ", whose r, alpha and modules these are"));
}

// One run a stage even where the layers of a stage are acquired one by one.
std::vector<int> RunsOf(const Task& task, const Layout& layout) {
  if (layout.mesh.pp == 1) return {static_cast<int>(task.model.num_layers())};
  return LayersPerRun(task, layout);
}

// "ranks 2-3, 6-7, 10-11 ... 510-511": tp neighbours, once a replica.
std::string RanksOfStage(const MeshShape& mesh, int stage) {
  constexpr int kMostRanges = 4;
  const bool one_range = mesh.pp == 1;  // no other stage's ranks lie between the replicas
  const int ranges = one_range ? 1 : mesh.dp, length = one_range ? mesh.dp * mesh.tp : mesh.tp;
  std::string text = ranges * length == 1 ? "rank " : "ranks ";
  for (int i = 0; i < ranges; ++i) {
    if (ranges > kMostRanges && i == kMostRanges - 1) i = ranges - 1;
    const int first = (i * mesh.pp + stage) * mesh.tp;
    if (i > 0) absl::StrAppend(&text, ranges > kMostRanges && i == ranges - 1 ? " ... " : ", ");
    absl::StrAppend(&text, first);
    if (length > 1) absl::StrAppend(&text, "-", first + length - 1);
  }
  return text;
}

// The folder; of one in Hugging Face's cache its name there, too.
std::string ModelName(const std::string& folder) {
  const std::string name = HubNameOf(folder);
  return name == folder ? folder : absl::StrCat(name, " (", folder, ")");
}

// That there is a routers' loss, and whether it is what config.json asks for.
std::string RouterLoss(const Task& task, const Layout& layout) {
  const bool from_model = task.model.router_loss == task.router_loss;
  return absl::StrFormat(
      "routers    their loss, over each microbatch (of %s), times %g%s beside the tokens'",
      Counted(layout.micro_batch_rows, "row"), task.router_loss,
      from_model ? " (as router_aux_loss_coef of config.json)" : "");
}

constexpr const char* kRecomputeNames[] = {"none", "smart", "full"};  // by Recompute

// What layers keep for backward; a whole token's share where rows are split over tp ranks.
std::string Kept(const Task& task, const Layout& layout) {
  const int tp = layout.mesh.tp;
  const int64_t bytes =
      MostKeptBytes(task.model.layers, ModelOptionsOf(task, layout), tp, /*tokens=*/tp) / tp;
  return absl::StrFormat("memory     recompute %s: a layer keeps %s bytes of each token, %s",
                         kRecomputeNames[static_cast<int>(layout.recompute)], WithCommas(bytes),
                         layout.activations == Place::kHost ? "in host memory" : "on the device");
}

}  // namespace

std::string StartSummary(const Task& task, const Layout& layout, const Machine& machine,
                         const ParameterCounts& parameters, const DatasetSummary& data) {
  const MeshShape& mesh = layout.mesh;
  std::vector<std::string> lines;
  lines.push_back(absl::StrFormat("model      %s: %s; %s on %s%s", ModelName(task.model_path),
                                  ToString(task.model), Precision(task, machine.device),
                                  machine.device.str(),
                                  machine.gpu.empty() ? "" : absl::StrCat(" (", machine.gpu, ")")));
  lines.push_back(absl::StrFormat(
      "mesh       %d ranks = dp %d x pp %d x tp %d%s; zero stage %d; sequence parallel %s; "
      "%d threads a rank%s",
      mesh.world_size(), mesh.dp, mesh.pp, mesh.tp,
      mesh.ep > 1 ? absl::StrCat("; experts over ", mesh.ep, " of dp") : "", layout.zero_stage,
      layout.sequence_parallel && mesh.tp > 1 ? "on" : "off", at::get_num_threads(),
      machine.transport.empty() ? "" : absl::StrCat("; over ", machine.transport)));
  for (int stage = 0; stage < mesh.pp; ++stage) {
    lines.push_back(
        absl::StrFormat("  stage %d on %s: %s%s", stage, RanksOfStage(mesh, stage),
                        ToString(RunsOfStage(RunsOf(task, layout), mesh.pp, stage)),
                        mesh.tp > 1 ? absl::StrCat(" (1/", mesh.tp, " of each matrix)") : ""));
  }
  lines.push_back(absl::StrFormat(
      "trainable params: %s || all params: %s || trainable%%: %.4f",
      WithCommas(parameters.trainable), WithCommas(parameters.all),
      100.0 * static_cast<double>(parameters.trainable) / static_cast<double>(parameters.all)));
  if (task.form.adapter) {
    if (task.form.nf4) lines.push_back(FormOfBase(task, layout, parameters));
    lines.push_back(FormOfAdapter(task));
  }
  const std::string plain =
      machine.device.is_cuda() ? PlainAttention(task.model.layers, task.form.compute) : "";
  if (!plain.empty()) lines.push_back("attention  " + plain);
  const std::string padded = PaddedAttention(task.model.layers);
  if (!padded.empty()) lines.push_back("attention  " + padded);
  const std::string sinks = machine.device.is_cuda() ? SinkAttention(task.model.layers) : "";
  if (!sinks.empty()) lines.push_back("attention  " + sinks);
  if (task.router_loss > 0) lines.push_back(RouterLoss(task, layout));
  lines.push_back(Kept(task, layout));
  lines.push_back(absl::StrFormat(
      "data       %d examples, %s tokens, %s with a target (%s), %d rows an epoch%s", data.examples,
      WithCommas(data.tokens), WithCommas(data.targets), Share(data.targets, data.tokens),
      data.rows, Cut(data, task.rows.sequence_len)));
  const StepShape shape = StepShapeOf(task, layout);
  lines.push_back(absl::StrFormat(
      "batch      %d rows a step = micro batch %d x accumulation %d x dp %d; %d %s%s",
      shape.rows_per_step(), shape.micro_batch_size, shape.accumulation, shape.dp_size, task.steps,
      task.steps == 1 ? "step" : "steps", ShortStep(task, data)));
  return absl::StrJoin(lines, "\n");
}

std::string StartSummary(const Job& job) {
  const Network& network = *job.network;
  const c10::Device device = network.device;
  const std::string gpu = device.is_cuda() ? Gpus().Describe(device.index()).name : "";
  return StartSummary(job.task(), job.layout(), {device, gpu, network.transport},
                      CountParameters(job.network->declared), job.rows->summary());
}

std::string HeldOutSummary(const DatasetSummary& data, int64_t sequence_len, int64_t eval_steps) {
  std::string text =
      absl::StrCat("held out   ", Counted(data.examples, "example"), ", ", WithCommas(data.tokens),
                   " tokens, ", WithCommas(data.targets), " with a target, ",
                   Counted(data.rows, "row"), Cut(data, sequence_len));
  if (eval_steps < 0) return text;
  return absl::StrCat(
      text, "; evaluated ",
      eval_steps > 0 ? absl::StrCat("every ", Counted(eval_steps, "step"), " and ") : "",
      "at the end");
}

std::vector<std::string> FileLines(const DatasetReport& report) {
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat(
      report.path, ": ", FormatName(report.format),
      report.why.empty() ? "" : absl::StrCat(" (", report.why, ")"), ", ",
      Counted(report.rows, "row"),
      report.skipped > 0 ? absl::StrCat(", ", WithCommas(report.skipped), " skipped") : ""));
  if (!report.unused.empty()) lines.push_back(Unused(report.unused));
  if (report.straddling > 0) {
    lines.push_back(absl::StrCat(
        Counted(report.straddling, "token that begins", "tokens that begin"),
        " before an answer and ", report.straddling == 1 ? "ends" : "end", " in it: not learnt"));
  }
  if (report.dropped_reasoning > 0) {
    lines.push_back(absl::StrCat(Counted(report.dropped_reasoning, "answer"),
                                 " without their reasoning, which the template leaves out of "
                                 "earlier turns (data.turns each keeps it)"));
  }
  if (report.special_texts > 0) {
    lines.push_back(absl::StrCat(Counted(report.special_texts, "row has", "rows have"),
                                 " the text of a special token in a message, which becomes that "
                                 "token (the first: ",
                                 report.first_special_text, ")"));
  }
  if (report.shifted_labels > 0) {
    lines.push_back(absl::StrCat("labels of ", Counted(report.shifted_labels, "row"),
                                 " are those of the next token (",
                                 "the first: ", report.first_shifted, ")"));
  }
  if (report.cut_texts > 0) {
    lines.push_back(absl::StrCat(Counted(report.cut_texts, "text"),
                                 " longer than data.sequence_len, in ",
                                 Counted(report.pieces, "piece")));
  }
  constexpr size_t kMostFaults = 3;
  for (size_t i = 0; i < std::min(report.faults.size(), kMostFaults); ++i) {
    lines.push_back(absl::StrCat("skipped ", report.faults[i]));
  }
  if (report.skipped > static_cast<int64_t>(kMostFaults)) {
    lines.push_back(absl::StrCat("... and ", WithCommas(report.skipped - kMostFaults),
                                 " more; data.on_bad_row stop tells them"));
  }
  return lines;
}

std::string FilesSummary(absl::Span<const DatasetReport> reports) {
  std::vector<std::string> lines;
  for (const DatasetReport& report : reports) {
    const char* head = "rows       ";
    for (const std::string& line : FileLines(report)) {
      lines.push_back(absl::StrCat(head, line));
      head = "             ";
    }
  }
  return absl::StrJoin(lines, "\n");
}

std::string HeldSummary() {
  std::vector<std::string> parts;
  for (int i = 0; i < static_cast<int>(MemoryCategory::kCount); ++i) {
    const auto category = static_cast<MemoryCategory>(i);
    const int64_t bytes = MemoryOf(category).current_bytes;
    const std::string_view name = MemoryCategoryName(category);
    if (bytes > 0 && category != MemoryCategory::kOther) {
      parts.push_back(absl::StrFormat("%s %s bytes", name, WithCommas(bytes)));
    }
  }
  return absl::StrCat("held       ", absl::StrJoin(parts, ", "));
}

}  // namespace fttrain
