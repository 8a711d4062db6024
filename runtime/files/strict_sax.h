// Streaming readers of JSON from files that nobody vouches for. Include in .cc files only (it is
// slow to compile).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fttrain {

// The parser takes a NUL byte for the end of its input and would ignore what follows.
absl::Status RefuseNul(std::string_view text, const std::string& path);
// The parser's message without its bracketed error id.
std::string JsonErrorReason(const std::exception& error);

// Base of streaming readers of a fixed schema: refuses every event that a subclass does not expect.
class StrictSax : public nlohmann::json_sax<nlohmann::json> {
 public:
  // Runs the parser over all of `text`. Errors name `path` and the byte.
  absl::Status Parse(std::string_view text, const std::string& path);

  bool null() override { return Refuse("null"); }
  bool boolean(bool) override { return Refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return Refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { return Refuse("a number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Refuse("a number that is no 64-bit integer");
  }
  bool string(string_t&) override { return Refuse("a string"); }
  bool binary(binary_t&) override { return Refuse("binary data"); }
  bool start_object(size_t) override { return Refuse("an object"); }
  bool end_object() override { return Refuse("the end of an object"); }
  bool start_array(size_t) override { return Refuse("an array"); }
  bool end_array() override { return Refuse("the end of an array"); }
  bool key(string_t& name) override;
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override;

 protected:
  // What the reader is in ("tensor 'x'"), for messages.
  virtual std::string Where() const = 0;
  bool Refuse(absl::string_view what);  // "Where(): unexpected WHAT"; false
  bool Fail(std::string message);       // false, for `return Fail(...)`

 private:
  const char* at_ = nullptr;  // what the parser reads next
  const char* begin_ = nullptr;
  std::string error_;
};

}  // namespace fttrain
