#include "runtime/files/strict_sax.h"

#include <iterator>
#include <utility>

#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Reads characters and tells how far it came: the parser itself gives positions for syntax errors
// only.
class CountingCursor {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingCursor(const char* at, const char** shared) : at_(at), shared_(shared) {}
  reference operator*() const { return *at_; }
  CountingCursor& operator++() {
    *shared_ = ++at_;
    return *this;
  }
  CountingCursor operator++(int) {
    CountingCursor old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingCursor& other) const { return at_ == other.at_; }
  bool operator!=(const CountingCursor& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** shared_;
};

}  // namespace

absl::Status RefuseNul(std::string_view text, const std::string& path) {
  const size_t nul = text.find('\0');
  if (nul == std::string_view::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": byte ", nul, ": NUL in JSON text"));
}

std::string JsonErrorReason(const std::exception& error) {
  const std::string_view text = error.what();
  const size_t end = text.find("] ");
  return Printable(end == std::string_view::npos ? text : text.substr(end + 2));
}

absl::Status StrictSax::Parse(std::string_view text, const std::string& path) {
  FT_RETURN_IF_ERROR(RefuseNul(text, path));
  begin_ = at_ = text.data();
  error_.clear();
  const bool parsed = nlohmann::json::sax_parse(
      CountingCursor(text.data(), &at_), CountingCursor(text.data() + text.size(), &at_), this);
  if (parsed) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", error_));
}

bool StrictSax::key(string_t& name) { return Refuse(absl::StrCat("key '", Printable(name), "'")); }

bool StrictSax::parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
  return Fail(absl::StrCat("not valid JSON: ", JsonErrorReason(error)));
}

bool StrictSax::Refuse(absl::string_view what) {
  return Fail(absl::StrCat(Where(), ": unexpected ", what));
}

bool StrictSax::Fail(std::string message) {
  error_ = absl::StrCat("byte ", at_ - begin_, ": ", message);
  return false;
}

}  // namespace fttrain
