#include "launch/run/speech.h"

#include <utility>

#include "launch/exit_code.h"
#include "model/config/generation_config.h"
#include "model/config/model_config.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::StatusOr<Speech> Speech::Load(const Task& task, bool raw) {
  Speech speech;
  speech.vocab_size_ = task.model.vocab_size;
  FT_ASSIGN_OR_RETURN(speech.tokenizer_, FromFile(Tokenizer::Load(task.model_path)));
  FT_ASSIGN_OR_RETURN(const std::vector<int64_t> stop,
                      FromFile(LoadStopTokenIds(task.model_path, task.model)));
  speech.stop_ids_.assign(stop.begin(), stop.end());
  if (!task.init_from.empty()) {  // where the adapter was taught to end
    FT_ASSIGN_OR_RETURN(const std::vector<int64_t> taught,
                        FromFile(GenerationEndIds(task.init_from)));
    speech.stop_ids_.insert(speech.stop_ids_.end(), taught.begin(), taught.end());
  }
  const Tokenizer& tokenizer = *speech.tokenizer_;
  if (tokenizer.EosId()) speech.stop_ids_.push_back(*tokenizer.EosId());
  if (raw) return speech;
  FT_ASSIGN_OR_RETURN(ChatTemplate chat,
                      ChatTemplate::Create(task.data.chat, task.model_path, tokenizer));
  if (const auto id = tokenizer.TokenToId(chat.end_of_turn())) speech.stop_ids_.push_back(*id);
  speech.chat_ = std::move(chat);
  return speech;
}

absl::StatusOr<std::vector<int32_t>> Speech::Checked(std::vector<int32_t> ids) const {
  if (ids.empty()) return absl::InvalidArgumentError("the prompt has no tokens");
  FT_RETURN_IF_ERROR(CheckIdsFit(*tokenizer_, ids, vocab_size_));
  return ids;
}

absl::StatusOr<std::vector<int32_t>> Speech::Ask(const Conversation& conversation) const {
  FT_CHECK(chat_.has_value(), "a conversation without a template");
  FT_ASSIGN_OR_RETURN(const std::string text, chat_->RenderPrompt(conversation));
  FT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer_->Encode(text, false));
  return Checked(std::move(ids));
}

absl::StatusOr<std::vector<int32_t>> Speech::AskText(const std::string& text) const {
  FT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer_->Encode(text, true));
  return Checked(std::move(ids));
}

std::string Speech::TextOf(const std::vector<int32_t>& answer) const {
  return tokenizer_->Decode(answer, /*skip_special=*/true);
}

}  // namespace fttrain
