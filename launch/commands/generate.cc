#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launch/commands/commands.h"
#include "launch/commands/sampling_flags.h"
#include "launch/exit_code.h"
#include "launch/run/evaluation.h"
#include "launch/run/generation.h"
#include "launch/run/questions.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::Status CheckFlags(const CommandLine& line) {
  const bool many = line.Has("prompts");
  if (line.Has("prompt") == many) {
    return absl::InvalidArgumentError(
        "'generate' needs --prompt=TEXT, or --prompts=FILE.jsonl and --output=FILE.jsonl");
  }
  if (many != line.Has("output")) {
    return absl::InvalidArgumentError(many ? "--prompts needs --output=FILE.jsonl for the answers"
                                           : "--output is for the answers to --prompts");
  }
  if (line.Has("batch_size") && !many) {
    return absl::InvalidArgumentError("--batch_size is of --prompts; --prompt is one");
  }
  if (line.Has("raw") && line.Has("system")) {
    return absl::InvalidArgumentError(
        "--system is for the template, which --raw leaves out: give one of them");
  }
  return absl::OkStatus();
}

absl::StatusOr<Questions> ReadQuestions(const CommandLine& line, const Task& task,
                                        int64_t max_new_tokens) {
  FT_RETURN_IF_ERROR(CheckFlags(line));
  FT_ASSIGN_OR_RETURN(Speech speech, Speech::Load(task, line.Has("raw")));
  std::vector<PromptRow> rows = {{"", line.Get("prompt"), {}}};
  if (line.Has("prompts")) {
    FT_ASSIGN_OR_RETURN(rows, ReadPromptRows(line.Get("prompts")));
  }
  return AskRows(std::move(rows), std::move(speech), task.model,
                 {line.Get("system"), max_new_tokens});
}

// The answers as rows of a file that is there when all of them are; null on every rank but the
// first.
absl::StatusOr<std::unique_ptr<AtomicFile>> CreateOutput(const CommandLine& line,
                                                         const Process& process) {
  if (process.rank() != 0 || !line.Has("output")) return nullptr;
  auto file = std::make_unique<AtomicFile>();
  FT_RETURN_IF_ERROR(file->Open(line.Get("output"), 0));
  return file;
}

std::string RowOf(const Questions& questions, size_t prompt, const Answer& answer) {
  const nlohmann::ordered_json row = {{"text", questions.speech.TextOf(answer.ids)},
                                      {"token_ids", answer.ids},
                                      {"prompt_tokens", questions.prompts[prompt].size()},
                                      {"finish_reason", answer.ended ? "stop" : "length"}};
  return row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// So many at a time, that what is done is written and told.
size_t Portion(const Network& network, int64_t batch_size) {
  return static_cast<size_t>(
      std::max<int64_t>(64, 8 * batch_size * network.mesh->shape().size(kDataAxes)));
}

// Agrees on errors.
absl::Status AnswerAll(Network& network, const Questions& questions, GenerationOptions options,
                       AtomicFile* output, const Process& process) {
  const size_t portion = Portion(network, options.batch_size);
  const auto start = std::chrono::steady_clock::now();
  int64_t tokens = 0;
  for (size_t begin = 0; begin < questions.prompts.size(); begin += portion) {
    const size_t end = std::min(begin + portion, questions.prompts.size());
    options.first_prompt = begin;
    const std::vector<Answer> answers = Generate(
        network, {questions.prompts.begin() + begin, questions.prompts.begin() + end}, options);
    absl::Status written;
    for (size_t i = 0; i < answers.size(); ++i) {
      tokens += static_cast<int64_t>(answers[i].ids.size());
      if (output == nullptr || !written.ok()) continue;
      const std::string row = RowOf(questions, begin + i, answers[i]);
      written = output->Append(row.data(), static_cast<int64_t>(row.size()));
    }
    FT_RETURN_IF_ERROR(process.AgreeOnStatus(written));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    LogInfo(absl::StrFormat("answered   %d of %d prompts, %d tokens, %.1f tokens/s", end,
                            questions.prompts.size(), tokens, tokens / seconds));
  }
  return process.AgreeOnStatus(output == nullptr ? absl::OkStatus() : output->Commit());
}

}  // namespace

absl::Status GenerateCommand(const CommandLine& line, const Process& process) {
  absl::StatusOr<GenerationOptions> options = ReadGenerationFlags(line);
  if (options.ok()) {
    const absl::StatusOr<int64_t> batch = line.Number<int64_t>(
        "batch_size", [](int64_t n) { return n >= 1 && n <= 4096; },
        "a whole number from 1 to 4096");
    if (batch.ok()) options->batch_size = *batch;
    if (!batch.ok()) options = batch.status();
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(options.ok() ? CheckFlags(line) : options.status()));
  // Positions are known once the prompts are tokenised, so the model's folder is read first.
  FT_ASSIGN_OR_RETURN(const EvaluationSetup setup, PrepareGeneration(line, process));
  const absl::StatusOr<Questions> questions =
      ReadQuestions(line, setup.task, options->max_new_tokens);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(questions.status()));
  const auto output = CreateOutput(line, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(output.status()));
  options->stop_ids = questions->speech.stop_ids();
  FT_ASSIGN_OR_RETURN(
      const std::unique_ptr<Network> network,
      LoadForEvaluation(setup, questions->longest + options->max_new_tokens, process));
  if (line.Has("prompt")) {
    LogInfo(questions->speech.TextOf(Generate(*network, questions->prompts, *options)[0].ids));
  } else {
    FT_RETURN_IF_ERROR(AnswerAll(*network, *questions, *options, output->get(), process));
  }
  process.Barrier();  // between hosts, what a rank has sent ends with its communicators
  return absl::OkStatus();
}

}  // namespace fttrain
