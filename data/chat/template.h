// Conversations -> text, by the checkpoint's own chat template or one of the project's, executed
// (jinja/template.h). The text is cut into segments that say what is to be learnt; where an answer
// begins and ends is found by rendering, never by the template's looks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

struct Message {
  std::string role;  // system | user | assistant, or what else the template takes
  std::string content;
  bool learn = false;  // loss on this turn; only ever set for assistant turns
};

struct ChatSegment {
  std::string text;
  bool target = false;
};

enum class ChatForm {
  kAuto,  // the checkpoint's own
  // The project's, in builtin/.
  kChatml,
  kLlama3,
  kLlama31,
  kGemma,
};

class ChatTemplate {
 public:
  // kAuto reads the template of `folder` as source.h says, and its special tokens; the others
  // need of it the special tokens alone. InvalidArgument, saying what to set, if there is no
  // template or it is none, or if the tokenizer lacks a token that a built-in one writes or that
  // ends a turn. Neither argument is kept.
  static absl::StatusOr<ChatTemplate> Create(ChatForm form, const std::string& folder,
                                             const Tokenizer& tokenizer);
  // A template's text. `tokens` are the special tokens it may name, such as bos_token.
  static absl::StatusOr<ChatTemplate> FromText(std::string_view jinja, const std::string& name,
                                               std::map<std::string, std::string> tokens,
                                               const Tokenizer& tokenizer);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The whole conversation, rendered once. Targets are, of turns with `learn`, what the template's
  // {% generation %} blocks write, one block a turn; without such blocks, what the turn adds behind
  // the header that asks for it, up to the token that ends the turn. InvalidArgument with what the
  // template says if it refuses the conversation, where a turn's answer cannot be found in the text
  // or in its {% generation %} block, and where the template leaves a message out.
  absl::StatusOr<std::vector<ChatSegment>> Render(absl::Span<const Message> messages) const;
  // The conversation followed by the header of an assistant turn: what `generate` feeds.
  absl::StatusOr<std::string> RenderPrompt(absl::Span<const Message> messages) const;

  // The token text that ends a turn: where `generate` stops. Empty if the template writes none.
  std::string end_of_turn() const { return last_end_.empty() ? inner_end_ : last_end_; }
  std::string name() const { return name_; }
  // What a user should know: turns whose end is not learnt.
  const std::vector<std::string>& Notes() const { return notes_; }

 private:
  struct Part {
    size_t begin, end;
  };
  struct Whole {
    std::string text;
    std::vector<Part> generation;  // what each {% generation %} wrote
    bool captured;                 // the parts need not be where the text is (jinja::Rendered)
  };
  ChatTemplate();
  absl::StatusOr<std::string> TextOf(absl::Span<const Message> messages, bool prompt) const;
  absl::StatusOr<Whole> RenderWhole(absl::Span<const Message> messages, bool prompt) const;
  // targets.cc
  absl::Status FindEndOfTurn(const Tokenizer& tokenizer);
  size_t EndOfTurn(const std::string& text, size_t begin, size_t end, bool last) const;
  absl::StatusOr<Part> Target(absl::Span<const Message> messages, size_t turn,
                              const std::string& text) const;
  absl::Status CheckGeneration(absl::Span<const Message> messages, size_t turn, const Whole& whole,
                               size_t block) const;
  absl::StatusOr<std::vector<Part>> Targets(absl::Span<const Message> messages,
                                            const Whole& whole) const;
  absl::Status CheckNothingIsLeftOut(absl::Span<const Message> messages,
                                     const std::string& text) const;
  absl::Status AnswerNotFound(size_t turn) const;

  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string name_;
  std::string last_end_, inner_end_;  // tokens that end the last turn, and one before others
  std::string tail_;                  // what the template writes behind the last answer
  bool asks_ = true;                  // it writes the header of an answer to come
  std::vector<std::string> notes_;
};

}  // namespace fttrain
