#include "data/chat/renderer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/error.h"
#include "data/chat/jinja/given.h"

namespace fttrain {

using jinja::Value;

Renderer::Renderer(jinja::Template code, std::string name, const std::tm& today)
    : code_(std::move(code)), name_(std::move(name)), today_(today) {}

absl::StatusOr<Renderer> Renderer::Parse(std::string_view text, std::string name,
                                         const std::map<std::string, std::string>& tokens,
                                         const std::tm& today) {
  auto code = jinja::Template::Parse(text);
  if (!code.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chat template ", name, ": ", code.status().message()));
  }
  Renderer out(*std::move(code), std::move(name), today);
  for (const auto& [token, value] : tokens) {
    if (!value.empty()) out.variables_.emplace(token, Value::String(value));
  }
  return out;
}

absl::StatusOr<Rendering> Renderer::Render(const absl::StatusOr<Dialog>& dialog, size_t messages,
                                           bool prompt) const {
  return dialog.ok() ? Render(*dialog, messages, prompt) : dialog.status();
}

absl::StatusOr<Rendering> Renderer::Render(const absl::StatusOr<Dialog>& dialog,
                                           bool prompt) const {
  return dialog.ok() ? Render(*dialog, prompt) : dialog.status();
}

absl::StatusOr<Rendering> Renderer::Render(const Dialog& dialog, size_t messages,
                                           bool prompt) const {
  jinja::Given variables{variables_};
  variables.own.reserve(4);
  const auto begin = dialog.messages.begin();
  try {
    variables.own.emplace_back(
        "messages",
        Value::List(std::vector<Value>(begin, begin + static_cast<std::ptrdiff_t>(messages))));
  } catch (const jinja::Error& error) {  // there are too many
    return absl::InvalidArgumentError(error.message);
  }
  variables.own.emplace_back("tools", dialog.tools);
  variables.own.emplace_back("documents", dialog.documents);
  variables.own.emplace_back("add_generation_prompt", Value::Bool(prompt));
  auto rendered = code_.Render(variables, today_);
  if (!rendered.ok()) {
    const auto why = rendered.status().message();
    return absl::InvalidArgumentError(absl::IsFailedPrecondition(rendered.status())
                                          ? std::string(why)  // in the template's own words
                                          : absl::StrCat("chat template ", name_, ": ", why));
  }
  Rendering out;
  out.text = std::move(rendered->text);
  for (const auto& span : rendered->generation) {
    out.generation.push_back({span.begin, span.end});
    out.captured |= span.captured;
  }
  out.asked_date = rendered->asked_date;
  return out;
}

}  // namespace fttrain
