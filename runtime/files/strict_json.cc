#include "runtime/files/strict_json.h"

#include <iterator>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int kMaxDepth = 32;

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

// The parser takes a NUL byte for the end of its input and would ignore what follows.
absl::Status RefuseNul(std::string_view text, const std::string& path) {
  const size_t nul = text.find('\0');
  if (nul == std::string_view::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": byte ", nul, ": NUL in JSON text"));
}

// The parser's message without its bracketed error id.
std::string Reason(const std::exception& error) {
  const std::string_view text = error.what();
  const size_t end = text.find("] ");
  return Printable(end == std::string_view::npos ? text : text.substr(end + 2));
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, const std::string& path) {
  using Event = nlohmann::json::parse_event_t;
  if (absl::Status nul = RefuseNul(text, path); !nul.ok()) return nul;
  std::vector<std::set<std::string>> keys;
  std::string error;
  const auto watch = [&](int depth, Event event, nlohmann::json& parsed) {
    if (depth >= kMaxDepth) error = absl::StrCat("nested deeper than ", kMaxDepth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
      error = absl::StrCat("key '", Printable(parsed.get<std::string>()), "' appears twice");
    }
    return depth < kMaxDepth;  // what is deeper is skipped, not built
  };
  try {
    nlohmann::json parsed = nlohmann::json::parse(text.begin(), text.end(), watch);
    if (error.empty() && !parsed.is_object()) error = "not a JSON object";
    if (error.empty()) return parsed;
  } catch (const nlohmann::json::exception& e) {
    error = Reason(e);
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", error));
}

absl::Status StrictSax::Parse(std::string_view text, const std::string& path) {
  if (absl::Status nul = RefuseNul(text, path); !nul.ok()) return nul;
  begin_ = at_ = text.data();
  error_.clear();
  const bool parsed = nlohmann::json::sax_parse(
      CountingCursor(text.data(), &at_), CountingCursor(text.data() + text.size(), &at_), this);
  if (parsed) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", error_));
}

bool StrictSax::key(string_t& name) { return Refuse(absl::StrCat("key '", Printable(name), "'")); }

bool StrictSax::parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
  return Fail(absl::StrCat("not valid JSON: ", Reason(error)));
}

bool StrictSax::Refuse(absl::string_view what) {
  return Fail(absl::StrCat(Where(), ": unexpected ", what));
}

bool StrictSax::Fail(std::string message) {
  error_ = absl::StrCat("byte ", at_ - begin_, ": ", message);
  return false;
}

}  // namespace fttrain
