#include "data/chat/jinja/template.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/ast.h"
#include "data/chat/jinja/evaluator.h"
#include "data/chat/jinja/parser.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

absl::Status StatusOf(const Error& error) {
  const std::string where = error.line > 0 ? absl::StrCat("line ", error.line, ": ") : "";
  const std::string message = where + error.message;
  switch (error.kind) {
    case ErrorKind::kRaised:
      return absl::FailedPreconditionError(
          error.message.empty() ? where + "raise_exception without a message" : error.message);
    case ErrorKind::kUnsupported:
      return absl::UnimplementedError(message);
    case ErrorKind::kLimit:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::InvalidArgumentError(message);
  }
}

}  // namespace

Template::Template(std::unique_ptr<const TemplateNode> root) : root_(std::move(root)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

absl::StatusOr<Template> Template::Parse(std::string_view source) {
  if (FindInvalidUtf8(source) != std::string_view::npos) {
    return absl::InvalidArgumentError("the template is not UTF-8");
  }
  try {
    return Template(std::make_unique<const TemplateNode>(jinja::Parse(source)));
  } catch (const Error& error) {
    return StatusOf(error);
  }
}

absl::StatusOr<Rendered> Template::Render(const std::map<std::string, std::string>& variables,
                                          const std::tm& now, const Limits& limits) const {
  std::map<std::string, Value> values;
  try {
    for (const auto& [name, text] : variables) {
      const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
      if (json.is_discarded()) {
        return absl::InvalidArgumentError(absl::StrCat("'", name, "' is not JSON"));
      }
      values.emplace(name, FromJson(json));
    }
  } catch (const Error& error) {
    return StatusOf(error);
  }
  return Render(Given{values}, now, limits);
}

absl::StatusOr<Rendered> Template::Render(const Given& variables, const std::tm& now,
                                          const Limits& limits) const {
  Run run(limits, now);
  Evaluator evaluator(run, variables);
  try {
    Rendered rendered;
    rendered.text = evaluator.Render(*root_);
    for (const Run::Span& span : run.generation) {
      rendered.generation.push_back({span.begin, span.end, span.captured});
    }
    rendered.asked_date = run.asked_date;
    return rendered;
  } catch (const Error& error) {
    return StatusOf(error);
  }
}

}  // namespace fttrain::jinja
