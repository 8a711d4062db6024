#include "data/chat/renderer.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/error.h"
#include "data/chat/jinja/library.h"
#include "data/chat/jinja/objects.h"

namespace fttrain {

using jinja::Value;

namespace {

// The interpreter's own strftime_now, which sets *asked where it is called.
Value Observed(std::shared_ptr<bool> asked) {
  static const Value* const own = new Value(*jinja::GlobalOf("strftime_now"));
  return jinja::Function("strftime_now", [asked](jinja::Run& run, jinja::Arguments& arguments) {
    *asked = true;
    return own->As<jinja::FunctionObject>().call(run, arguments);
  });
}

}  // namespace

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
  const auto asked = std::make_shared<bool>(false);
  std::map<std::string, Value> variables = variables_;
  const auto begin = dialog.messages.begin();
  try {
    variables["messages"] =
        Value::List(std::vector<Value>(begin, begin + static_cast<std::ptrdiff_t>(messages)));
  } catch (const jinja::Error& error) {  // there are too many
    return absl::InvalidArgumentError(error.message);
  }
  variables["tools"] = dialog.tools;
  variables["documents"] = dialog.documents;
  variables["add_generation_prompt"] = Value::Bool(prompt);
  variables.emplace("strftime_now", Observed(asked));
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
  out.asked_date = *asked;
  return out;
}

}  // namespace fttrain
