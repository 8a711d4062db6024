// How the interpreter fails: one exception inside, an absl::Status at its face (template.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace fttrain::jinja {

// The Python exceptions that templates can tell apart, because the language or a filter catches
// some of them.
enum class ErrorKind {
  kSyntax,      // TemplateSyntaxError, TemplateAssertionError
  kRuntime,     // TemplateRuntimeError, FilterArgumentError, AssertionError
  kRaised,      // raise_exception(message): the template refuses its input
  kUndefined,   // UndefinedError
  kSecurity,    // SecurityError: what the sandbox forbids
  kType,        // TypeError
  kValue,       // ValueError
  kLookup,      // KeyError, IndexError
  kArithmetic,  // OverflowError, ZeroDivisionError
  kLimit,       // a bound of ours (Limits); nothing catches it
  kUnsupported  // what Jinja2 could do and this interpreter refuses by name; nothing catches it
};

// `line` is that of the template; 0 until a node that has one passes the error on.
struct Error {
  ErrorKind kind;
  std::string message;
  int line = 0;

  Error(ErrorKind kind_in, std::string message_in, int line_in = 0)
      : kind(kind_in), message(std::move(message_in)), line(line_in) {}
};

// What one rendering may cost. A template is a file from somewhere: whatever it says, rendering
// ends soon, with an error where a bound is passed.
struct Limits {
  int64_t steps = int64_t{1} << 24;   // nodes evaluated and items iterated
  int64_t bytes = int64_t{1} << 30;   // of all text and lists made on the way
  int64_t output = int64_t{1} << 28;  // bytes of the result, and of any one string
  int depth = 1500;                   // nodes inside nodes, calls included
};

inline constexpr int64_t kMaxRange = 100000;    // Jinja2's sandbox
inline constexpr int kMaxNesting = 100;         // brackets and blocks of a template
inline constexpr int kMaxTreeDepth = 300;       // of an expression's tree
inline constexpr int kMaxValueDepth = 200;      // lists inside lists
inline constexpr int64_t kMaxWeight = 1 << 22;  // values in one value, each as often as it is there
inline constexpr size_t kMaxSource = 1u << 22;  // bytes of a template

}  // namespace fttrain::jinja
