#include "data/formats/row_json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "data/formats/plain_json.h"
#include "data/text/unicode.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Builds the value and stops at what it would lose. Not the library's own builder: that one looks
// for each key among all that an object has, and 40,000 of them take it seconds.
class Builder : public nlohmann::json_sax<RowJson> {
 public:
  explicit Builder(RowJson* out) : out_(out) {}

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(int64_t value) override { return Put(value); }
  bool number_unsigned(uint64_t value) override { return Put(value); }
  bool number_float(double value, const std::string& text) override {
    if (text.find_first_of(".eE") == std::string::npos) {
      error_ =
          absl::StrCat("the integer ", Printable(text), " is beyond 64 bits: write it as a string");
      return false;
    }
    return Put(value);
  }
  bool string(std::string& value) override { return Put(std::move(value)); }
  bool binary(RowJson::binary_t&) override { return false; }  // JSON has none
  bool start_object(size_t) override { return Begin(RowJson::object()); }
  bool end_object() override { return End(); }
  bool start_array(size_t) override { return Begin(RowJson::array()); }
  bool end_array() override { return End(); }
  bool key(std::string& key) override {
    if (!open_.back().keys.insert(key).second) {
      error_ = absl::StrCat("key ", Quoted(key), " stands twice in one object: keep one of them");
      return false;
    }
    open_.back().key = std::move(key);
    return true;
  }
  bool parse_error(size_t byte, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": the
    // words behind the place.
    const std::string what = error.what();
    const size_t colon = what.find(": ");
    error_ = absl::StrCat("not valid JSON at byte ", byte, ": ",
                          Printable(colon == std::string::npos ? what : what.substr(colon + 2)));
    return false;
  }
  const std::string& error() const { return error_; }

 private:
  // An object or array whose end is not read yet.
  struct Open {
    RowJson value;
    absl::flat_hash_set<std::string> keys;  // of an object
    std::string key;                        // of its next value
  };

  bool Put(RowJson value) {
    if (open_.empty()) {
      *out_ = std::move(value);
    } else if (Open& into = open_.back(); into.value.is_array()) {
      into.value.get_ref<RowJson::array_t&>().push_back(std::move(value));
    } else {
      into.value.get_ref<RowJson::object_t&>().emplace_back(std::move(into.key), std::move(value));
    }
    return true;
  }
  bool Begin(RowJson empty) {
    open_.push_back({std::move(empty), {}, ""});
    if (open_.size() <= kMaxJsonDepth) return true;
    error_ = absl::StrCat("JSON nested deeper than ", kMaxJsonDepth, " levels");
    return false;
  }
  bool End() {
    RowJson value = std::move(open_.back().value);
    open_.pop_back();
    return Put(std::move(value));
  }

  RowJson* out_;
  std::vector<Open> open_;
  std::string error_;
};

}  // namespace

absl::StatusOr<RowJson> ParseRowJson(const std::string& text, const std::string& where) {
  const size_t bad = FindInvalidUtf8(text);
  if (bad != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": not UTF-8 at byte ", bad + 1, ": save the file as UTF-8"));
  }
  // To the library a NUL is the text's end: a row behind it would be lost.
  const size_t nul = text.find('\0');
  if (nul != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": not valid JSON at byte ", nul + 1,
                     ": a NUL: the file is damaged, copy or write it again"));
  }
  if (RowJson plain; ReadPlainJson(text, &plain)) return plain;
  RowJson out;
  Builder builder(&out);
  if (RowJson::sax_parse(text.begin(), text.end(), &builder)) return out;
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", builder.error()));
}

bool IsNothing(const RowJson& value) {
  if (value.is_string()) {
    const std::string& text = value.get_ref<const std::string&>();
    return text.empty() || text == "[]" || text == "{}" || text == "null";
  }
  if (!value.is_object()) return value.empty();
  return std::all_of(value.begin(), value.end(), [](const RowJson& v) { return IsNothing(v); });
}

std::string TypeOf(const RowJson& value) {
  return value.is_number_float() ? "a number with a fraction" : value.type_name();
}

std::string Quoted(absl::string_view key) {
  return absl::StrCat("'", Printable({key.data(), key.size()}), "'");
}

}  // namespace fttrain
