// Between what people write and a model's tokens: tokenizer, template, and where answers end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/template.h"
#include "data/tokenizer/tokenizer.h"
#include "launch/plan/task.h"

namespace fttrain {

class Speech {
 public:
  // Of the folder of task.model_path; answers end where it, its template and the adapter of
  // task.init_from say. `raw`: no template is read, prompts are texts.
  static absl::StatusOr<Speech> Load(const Task& task, bool raw);

  // The tokens of what is asked. InvalidArgument if the template refuses it, or if a token has no
  // row in the model.
  absl::StatusOr<std::vector<int32_t>> Ask(const Conversation& conversation) const;
  absl::StatusOr<std::vector<int32_t>> AskText(const std::string& text) const;  // as it is

  std::string TextOf(const std::vector<int32_t>& answer) const;
  const std::vector<int32_t>& stop_ids() const { return stop_ids_; }
  bool raw() const { return !chat_.has_value(); }

 private:
  Speech() = default;
  absl::StatusOr<std::vector<int32_t>> Checked(std::vector<int32_t> ids) const;

  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
  std::vector<int32_t> stop_ids_;
  int64_t vocab_size_ = 0;
};

}  // namespace fttrain
