// Conversations -> text, by named renderers in place of a template language. Each gives the text
// that the checkpoint's own Jinja template gives, cut into segments that say what is to be learnt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

struct Message {
  std::string role;  // system | user | assistant
  std::string content;
  bool learn = false;  // loss on this turn; only ever set for assistant turns
};

struct ChatSegment {
  std::string text;
  bool target = false;
};

// The renderers:
//   chatml    "<|im_start|>ROLE\nCONTENT<|im_end|>\n"; a checkpoint's template may bring a default
//             system message
//   llama3    "<|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|>" after BOS, content
//             trimmed
//   llama3.1  the same, with knowledge-date lines before the system message; today: 26 Jul 2024
//   gemma     "<start_of_turn>ROLE\nCONTENT<end_of_turn>\n" after BOS; assistant is "model", the
//             system message opens the first user turn, roles must alternate
class ChatTemplate {
 public:
  // `name`: one of the above, or "auto": recognise the text of `folder`'s chat_template.jinja, or
  // of chat_template in its tokenizer_config.json. InvalidArgument, saying what to set, if it is
  // not one of them (for example, templates with <think> blocks), or if a token that the renderer
  // writes is not in the vocabulary. Neither argument is kept.
  static absl::StatusOr<ChatTemplate> Create(const std::string& name, const std::string& folder,
                                             const Tokenizer& tokenizer);
  // The recognition alone, from the template's text.
  static absl::StatusOr<ChatTemplate> FromText(std::string_view jinja,
                                               const std::string& bos_token);

  // The whole conversation. Targets are, of turns with `learn`, the content and the end-of-turn
  // token (header and the newline after the turn excluded). InvalidArgument on an unknown role, a
  // system message that is not first, or roles this template refuses.
  absl::StatusOr<std::vector<ChatSegment>> Render(absl::Span<const Message> messages) const;
  // The conversation followed by the header of an assistant turn: what `generate` feeds.
  absl::StatusOr<std::string> RenderPrompt(absl::Span<const Message> messages) const;

  // The token text that ends a turn: where `generate` stops.
  const std::string& end_of_turn() const { return end_of_turn_; }
  const std::string& name() const { return name_; }
  const std::string& default_system() const { return default_system_; }

 private:
  ChatTemplate() = default;
  static ChatTemplate Named(const std::string& name, const std::string& bos_token);
  absl::Status Check(absl::Span<const Message> messages) const;
  std::string Header(const std::string& role) const;

  std::string name_, bos_, end_of_turn_, after_turn_, default_system_;
  bool trim_ = false, refuses_system_ = false;
};

}  // namespace fttrain
