#include "launch/run/samples.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "launch/run/generation.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// As people read it: a text, or the last thing that a conversation's user says.
std::string ShownPrompt(const PromptRow& row) {
  const std::vector<Message>& messages = row.conversation.messages;
  return messages.empty() ? row.text : messages.back().content;
}

GenerationOptions OptionsOf(const Samples& samples) {
  GenerationOptions options;
  options.max_new_tokens = samples.max_new_tokens;
  options.stop_ids = samples.questions.speech.stop_ids();
  return options;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Samples>> ReadSamples(const std::string& path,
                                                           int64_t max_new_tokens,
                                                           const Task& task) {
  if (path.empty()) return nullptr;
  FT_ASSIGN_OR_RETURN(std::vector<PromptRow> rows, ReadPromptRows(path));
  FT_ASSIGN_OR_RETURN(Speech speech, Speech::Load(task, /*raw=*/false));
  FT_ASSIGN_OR_RETURN(Questions questions, AskRows(std::move(rows), std::move(speech), task.model,
                                                   {.max_new_tokens = max_new_tokens,
                                                    .limit = "train.sample_max_new_tokens"}));
  return std::make_shared<const Samples>(Samples{std::move(questions), max_new_tokens});
}

std::vector<Sample> TakeSamples(Network& network, const Samples& samples) {
  const Questions& asked = samples.questions;
  const std::vector<Answer> answers = Generate(network, asked.prompts, OptionsOf(samples));
  network.transformer->BeginStep({}, nullptr);  // nothing of this stays
  std::vector<Sample> taken;
  for (size_t i = 0; i < answers.size(); ++i) {
    taken.push_back(
        {ShownPrompt(asked.rows[i]), asked.speech.TextOf(answers[i].ids), answers[i].ended});
  }
  return taken;
}

// The longest caches that there are: prompts as long as with their answers, and one token more.
void RehearseSamples(Network& network, const Samples& samples) {
  std::vector<std::vector<int32_t>> whole = samples.questions.prompts;
  for (std::vector<int32_t>& prompt : whole) {
    prompt.resize(prompt.size() + static_cast<size_t>(samples.max_new_tokens) - 1, 0);
  }
  GenerationOptions options = OptionsOf(samples);
  options.max_new_tokens = 2;
  options.stop_ids.clear();
  options.rehearsed = true;
  Generate(network, whole, options);
  network.transformer->BeginStep({}, nullptr);
}

std::string Beginning(const std::string& text, size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  const auto is_inside = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
  while (most_bytes > 0 && is_inside(text[most_bytes])) --most_bytes;
  return absl::StrCat(text.substr(0, most_bytes), "...");
}

std::string ToJsonLine(int64_t step, size_t index, const Sample& sample) {
  const nlohmann::ordered_json json = {{"step", step},
                                       {"sample", index},
                                       {"prompt", sample.prompt},
                                       {"answer", sample.answer},
                                       {"finish_reason", sample.ended ? "stop" : "length"}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<std::unique_ptr<SamplesFile>> SamplesFile::Create(const std::string& path,
                                                                 int64_t steps_done) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<MetricsFile> lines, MetricsFile::Create(path, steps_done));
  return absl::WrapUnique(new SamplesFile(std::move(lines)));
}

absl::Status SamplesFile::OnSamples(int64_t step, const std::vector<Sample>& samples) {
  for (size_t i = 0; i < samples.size(); ++i) {
    FT_RETURN_IF_ERROR(lines_->Append(ToJsonLine(step, i, samples[i])));
  }
  return absl::OkStatus();
}

}  // namespace fttrain
