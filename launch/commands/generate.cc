#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "data/chat/template.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/run/evaluation.h"
#include "model/config/generation_config.h"
#include "model/config/model_config.h"
#include "runtime/math/philox.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct Sampling {
  int64_t max_new_tokens = 0;
  double temperature = 0.0;
  uint64_t seed = 0;
};

struct Prompt {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<int32_t> ids;
  std::vector<int32_t> stop_ids;
};

absl::StatusOr<Sampling> ParseSampling(const CommandLine& line) {
  Sampling s;
  FT_ASSIGN_OR_RETURN(
      s.max_new_tokens,
      line.Number<int64_t>(
          "max_new_tokens",
          [](int64_t n) { return n >= 1 && n <= std::numeric_limits<int32_t>::max(); },
          "a whole number from 1 to 2^31 - 1"));
  FT_ASSIGN_OR_RETURN(s.temperature,
                      line.Number<double>(
                          "temperature", [](double t) { return t >= 0 && !std::isinf(t); },
                          "a number of at least 0 (0: greedy)"));
  FT_ASSIGN_OR_RETURN(const int64_t seed,
                      line.Number<int64_t>(
                          "seed", [](int64_t) { return true; }, "a whole number"));
  s.seed = static_cast<uint64_t>(seed);
  return s;
}

absl::StatusOr<Prompt> MakePrompt(const CommandLine& line, const Task& task,
                                  int64_t max_new_tokens) {
  const ModelSpec& model = task.model;
  Prompt prompt;
  FT_ASSIGN_OR_RETURN(prompt.tokenizer, FromFile(Tokenizer::Load(task.model_path)));
  FT_ASSIGN_OR_RETURN(const std::vector<int64_t> stop,
                      FromFile(LoadStopTokenIds(task.model_path, model)));
  prompt.stop_ids.assign(stop.begin(), stop.end());
  if (!task.init_from.empty()) {  // where the adapter was taught to end
    FT_ASSIGN_OR_RETURN(const std::vector<int64_t> taught,
                        FromFile(GenerationEndIds(task.init_from)));
    prompt.stop_ids.insert(prompt.stop_ids.end(), taught.begin(), taught.end());
  }
  if (prompt.tokenizer->EosId()) prompt.stop_ids.push_back(*prompt.tokenizer->EosId());
  if (line.Has("raw")) {
    FT_ASSIGN_OR_RETURN(prompt.ids, prompt.tokenizer->Encode(line.Get("prompt"), true));
  } else {
    FT_ASSIGN_OR_RETURN(ChatTemplate chat,
                        ChatTemplate::Create(task.data.chat, task.model_path, *prompt.tokenizer));
    Conversation asked;
    asked.messages.push_back({"user", line.Get("prompt")});
    FT_ASSIGN_OR_RETURN(const std::string text, chat.RenderPrompt(asked));
    FT_ASSIGN_OR_RETURN(prompt.ids, prompt.tokenizer->Encode(text, false));
    if (const auto id = prompt.tokenizer->TokenToId(chat.end_of_turn()))
      prompt.stop_ids.push_back(*id);
  }
  if (prompt.ids.empty()) return absl::InvalidArgumentError("the prompt has no tokens");
  FT_RETURN_IF_ERROR(CheckIdsFit(*prompt.tokenizer, prompt.ids, model.vocab_size));
  FT_RETURN_IF_ERROR(CheckPositions(
      model, static_cast<int64_t>(prompt.ids.size()) + max_new_tokens,
      absl::StrCat("the prompt's ", prompt.ids.size(), " tokens and --max_new_tokens make"),
      "shorten one of them"));
  return prompt;
}

// All ranks hold the same logits and draw the same number, so they choose the same token.
int32_t ChooseToken(const at::Tensor& logits, const Sampling& sampling, int64_t position) {
  if (sampling.temperature == 0) return static_cast<int32_t>(logits.argmax().item<int64_t>());
  const at::Tensor cumulative =
      at::softmax(logits.to(at::kDouble) / sampling.temperature, 0).cumsum(0).contiguous();
  const double u =
      UniformFromBits(Philox4x32(sampling.seed, position, StreamOfName("generate")).x[0]);
  const double* begin = cumulative.data_ptr<double>();
  const double* end = begin + cumulative.numel();
  return static_cast<int32_t>(std::min(std::upper_bound(begin, end, u * end[-1]), end - 1) - begin);
}

std::vector<int32_t> Sample(const Network& network, const EvaluationSetup& setup,
                            const Prompt& prompt, const Sampling& sampling) {
  std::vector<int32_t> ids = prompt.ids, answer;
  const c10::Device device = network.device;
  while (static_cast<int64_t>(answer.size()) < sampling.max_new_tokens) {
    const auto tokens = static_cast<int32_t>(ids.size());
    const at::Tensor last = at::full({1}, tokens - 1, at::TensorOptions(at::kLong).device(device));
    const at::Tensor logits =
        network.transformer->Logits(EvaluationBatch(ids, setup), last)[0].cpu();
    const int32_t next = ChooseToken(logits, sampling, tokens);
    if (absl::c_linear_search(prompt.stop_ids, next)) break;
    ids.push_back(next);
    answer.push_back(next);
  }
  return answer;
}

}  // namespace

absl::Status GenerateCommand(const CommandLine& line, const Process& process) {
  if (!line.Has("prompt")) {
    return process.AgreeOnStatus(absl::InvalidArgumentError("'generate' needs --prompt=TEXT"));
  }
  const absl::StatusOr<Sampling> sampling = ParseSampling(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(sampling.status()));
  // Positions are known once the prompt is tokenised, so the model's folder is read first.
  FT_ASSIGN_OR_RETURN(const EvaluationSetup setup, PrepareEvaluation(line, process));
  absl::StatusOr<Prompt> prompt = MakePrompt(line, setup.task, sampling->max_new_tokens);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(prompt.status()));
  const int64_t positions = static_cast<int64_t>(prompt->ids.size()) + sampling->max_new_tokens;
  FT_ASSIGN_OR_RETURN(std::unique_ptr<Network> network,
                      LoadForEvaluation(setup, positions, process));
  const std::vector<int32_t> answer = Sample(*network, setup, *prompt, *sampling);
  LogInfo(prompt->tokenizer->Decode(answer, /*skip_special=*/true));
  process.Barrier();  // between hosts, what a rank has sent ends with its communicators
  return absl::OkStatus();
}

}  // namespace fttrain
