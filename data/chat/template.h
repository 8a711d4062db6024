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
  // auto: the checkpoint's own, where it has several the one called tool_use for conversations with
  // tools and the one called default for others; the name of one of these; the name of one of the
  // project's (source.h), after the folder's; or a path that ends in .jinja.
  std::string name = "auto";
  // YYYY-MM-DD: what a template that asks for today's date (strftime_now) is told, in every run.
  std::string date = "2024-07-26";
};

// Const functions may be called from several threads at once.
class ChatTemplate {
 public:
  // InvalidArgument, saying what to set, if there is no such template, if the date is none, or if
  // the tokenizer lacks a token that a built-in one writes; DataLoss if a file's text is no
  // template or ends a turn with what the tokenizer lacks; else as FindChatTemplate. Of `folder`
  // the special tokens are read, too (source.h). No argument is kept.
  static absl::StatusOr<ChatTemplate> Create(const ChatOptions& options, const std::string& folder,
                                             const Tokenizer& tokenizer);
  // A template's text. `tokens` are the special tokens it may name, such as bos_token.
  static absl::StatusOr<ChatTemplate> FromText(std::string_view jinja, const std::string& name,
                                               std::map<std::string, std::string> tokens,
                                               const Tokenizer& tokenizer,
                                               const std::string& date = ChatOptions().date);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The whole conversation, rendered once. Targets are, of turns with `learn`, what the template's
  // {% generation %} blocks write; without such blocks, what the turn adds (its reasoning, calls,
  // content) behind the header that asks for it, up to the token that ends the turn.
  // InvalidArgument with what the template says if it refuses the conversation; where a turn's
  // answer cannot be found in the text or in its {% generation %} block; and, naming the message
  // and its key, where the template leaves out a text of a message (conversation.h), a tool or a
  // document. Reasoning may be left out of turns that it is written in when they are the last.
  absl::StatusOr<RenderedChat> Render(const Conversation& conversation) const;
  // The conversation followed by the header of an assistant turn: what `generate` feeds.
  absl::StatusOr<std::string> RenderPrompt(const Conversation& conversation) const;

  // The token text that ends a turn: where `generate` stops. Empty if the template writes none.
  std::string end_of_turn() const;
  std::string name() const;
  // What a user should know: turns whose end is not learnt, the date that is told, how one of the
  // project's differs from the folder's own.
  const std::vector<std::string>& Notes() const { return notes_; }

 private:
  struct Form;  // one template and how it ends turns
  ChatTemplate();
  const Form& FormFor(const Conversation& conversation) const;

  std::unique_ptr<Form> form_, tools_form_;  // the latter may be null
  std::vector<std::string> notes_;
};

}  // namespace fttrain
