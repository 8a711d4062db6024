// A chat template in the Jinja language, as transformers runs it: Jinja2's immutable sandbox with
// trim_blocks, lstrip_blocks, the loop controls, {% generation %}, raise_exception, strftime_now
// and transformers' tojson (transformers/utils/chat_template_utils.py). The text is that of
// Jinja2 3.1.6 byte for byte; what is refused is refused. Not there, and refused by name: files
// (include, import, extends, block), autoescape, integers beyond 64 bits, complex numbers, sets,
// bytes, printing of what Python prints with an address, and the filters pprint, random, striptags,
// urlize, wordwrap, xmlattr.
#pragma once

#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/jinja/error.h"

namespace fttrain::jinja {

struct TemplateNode;
struct Given;

struct Rendered {
  // What one {% generation %} block wrote: bytes [begin, end) of the text. As transformers counts
  // them: of a block inside a captured one (a macro, {% set %}), `begin` is where the result stood
  // when it ran, which need not be where its text ends up; such a span says `captured`.
  struct Span {
    size_t begin, end;
    bool captured;
  };
  std::string text;
  std::vector<Span> generation;
  bool asked_date = false;  // strftime_now was called
};

class Template {
 public:
  // InvalidArgument "line N: what", as Jinja2 words it, for what is no template.
  static absl::StatusOr<Template> Parse(std::string_view source);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // `variables` are JSON texts by name: {"messages", "[...]"}. `now` is what strftime_now formats.
  // InvalidArgument "line N: what" where the template raises, FailedPrecondition with what the
  // template said itself where it refuses its input (raise_exception), Unimplemented for what is
  // refused by name, ResourceExhausted where a limit is passed. May be called by several threads.
  absl::StatusOr<Rendered> Render(const std::map<std::string, std::string>& variables,
                                  const std::tm& now, const Limits& limits = {}) const;
  // The same for values made before (given.h).
  absl::StatusOr<Rendered> Render(const Given& variables, const std::tm& now,
                                  const Limits& limits = {}) const;

 private:
  explicit Template(std::unique_ptr<const TemplateNode> root);
  std::unique_ptr<const TemplateNode> root_;
};

}  // namespace fttrain::jinja
