// Conversations -> text, by forms known by name in place of a template language. Each gives the
// text that the checkpoint's own Jinja template gives, cut into segments that say what is to be
// learnt.
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

enum class ChatForm {
  kAuto,  // recognised by the text of the checkpoint's template
  // "<|im_start|>ROLE\nCONTENT<|im_end|>\n"; a checkpoint's template may bring a default system
  // message.
  kChatml,
  // "<|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|>" after BOS, content trimmed.
  kLlama3,
  // The same, with knowledge-date lines before the system message; today: 26 Jul 2024.
  kLlama31,
  // "<start_of_turn>ROLE\nCONTENT<end_of_turn>\n" after BOS; assistant is "model", the system
  // message opens the first user turn, roles must alternate.
  kGemma,
};

struct ChatRules;  // of a form; template.cc

class ChatTemplate {
 public:
  // kAuto recognises the text of `folder`'s chat_template.jinja, or of chat_template in its
  // tokenizer_config.json. InvalidArgument, saying what to set, if it is none of the forms (for
  // example, templates with <think> blocks), or if a token that the form writes is not in the
  // vocabulary. Neither argument is kept.
  static absl::StatusOr<ChatTemplate> Create(ChatForm form, const std::string& folder,
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
  std::string end_of_turn() const;
  std::string name() const;

 private:
  // As `form`, which is not kAuto, is where no checkpoint's template says more.
  ChatTemplate(ChatForm form, const std::string& bos_token);
  absl::Status Check(absl::Span<const Message> messages) const;
  std::string Header(const std::string& role) const;

  const ChatRules* rules_;
  std::string bos_, default_system_;
  bool trim_, refuses_system_ = false;
};

}  // namespace fttrain
