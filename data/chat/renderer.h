// One chat template with all that it sees beside the conversation.
#pragma once

#include <ctime>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/dialog.h"
#include "data/chat/jinja/template.h"

namespace fttrain {

struct TextPart {
  size_t begin, end;
};

struct Rendering {
  std::string text;
  std::vector<TextPart> generation;  // what each {% generation %} wrote
  bool captured = false;             // the parts need not be where the text is (jinja::Rendered)
  bool asked_date = false;           // strftime_now was called
};

class Renderer {
 public:
  // `name` as messages have it, `tokens` by the names that a template has for them. InvalidArgument
  // with the line where `text` is no template.
  static absl::StatusOr<Renderer> Parse(std::string_view text, std::string name,
                                        const std::map<std::string, std::string>& tokens,
                                        const std::tm& today);

  // The first `messages` of the dialog. InvalidArgument with what the template says if it refuses.
  absl::StatusOr<Rendering> Render(const Dialog& dialog, size_t messages, bool prompt) const;
  absl::StatusOr<Rendering> Render(const Dialog& dialog, bool prompt) const {
    return Render(dialog, dialog.messages.size(), prompt);
  }
  // The same of what may have failed to be made: then with its status.
  absl::StatusOr<Rendering> Render(const absl::StatusOr<Dialog>& dialog, size_t messages,
                                   bool prompt) const;
  absl::StatusOr<Rendering> Render(const absl::StatusOr<Dialog>& dialog, bool prompt) const;

  const std::string& name() const { return name_; }
  const std::tm& today() const { return today_; }

 private:
  Renderer(jinja::Template code, std::string name, const std::tm& today);

  jinja::Template code_;
  std::string name_;
  std::tm today_;
  std::map<std::string, jinja::Value> variables_;  // the special tokens
};

}  // namespace fttrain
