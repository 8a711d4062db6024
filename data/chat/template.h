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
#include "data/chat/conversation.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

struct ChatSegment {
  std::string text;
  bool target = false;
};

// A conversation's text, cut at the borders of what is to be learnt.
struct RenderedChat {
  std::vector<ChatSegment> segments;
  // Earlier turns whose reasoning the template leaves out, as those of thinking models do.
  int dropped_reasoning = 0;
};

// How conversations become text.
struct ChatOptions {
  // auto: the checkpoint's own; else the name of one of the project's (source.h) or of one in the
  // checkpoint's folder, or a path that ends in .jinja.
  std::string name = "auto";
  // YYYY-MM-DD: what a template that asks for today's date (strftime_now) is told, in every run.
  std::string date = "2024-07-26";
};

class ChatTemplate {
 public:
  // InvalidArgument, saying what to set, if there is no such template or it is none, or if the
  // tokenizer lacks a token that a built-in one writes or that ends a turn. Of `folder` the special
  // tokens are read, too (source.h). No argument is kept.
  static absl::StatusOr<ChatTemplate> Create(const ChatOptions& options, const std::string& folder,
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
  absl::StatusOr<RenderedChat> Render(const Conversation& conversation) const;
  // The conversation followed by the header of an assistant turn: what `generate` feeds.
  absl::StatusOr<std::string> RenderPrompt(const Conversation& conversation) const;

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
