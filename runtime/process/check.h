// Invariants, statuses, and the error of a collective. FT_CHECK is for impossible states: it prints
// file, line and the message and aborts.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace fttrain {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& message);

// Thrown when a collective fails during a step; names rank, axis, operation and bytes.
class CommError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace fttrain

#define FT_CHECK(condition, ...)                                                           \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      ::fttrain::CheckFailed(__FILE__, __LINE__, #condition, ::absl::StrCat(__VA_ARGS__)); \
    }                                                                                      \
  } while (false)

// Returns the status of `expression` from the enclosing function unless it is OK.
#define FT_RETURN_IF_ERROR(expression)        \
  do {                                        \
    ::absl::Status ft_status_ = (expression); \
    if (!ft_status_.ok()) return ft_status_;  \
  } while (false)

#define FT_CONCAT_INNER_(a, b) a##b
#define FT_CONCAT_(a, b) FT_CONCAT_INNER_(a, b)
// FT_ASSIGN_OR_RETURN(auto x, F()): x = *F(), or returns F()'s status.
#define FT_ASSIGN_OR_RETURN(lhs, expression) \
  FT_ASSIGN_OR_RETURN_IMPL_(FT_CONCAT_(ft_statusor_, __LINE__), lhs, expression)
#define FT_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expression) \
  auto statusor = (expression);                              \
  if (!statusor.ok()) return statusor.status();              \
  lhs = std::move(statusor).value()
