#include "data/formats/row_json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/text/unicode.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int kMaxDepth = 64;

// Builds the value and stops at what it would lose.
class Builder : public nlohmann::detail::json_sax_dom_parser<RowJson> {
 public:
  using Base = nlohmann::detail::json_sax_dom_parser<RowJson>;
  explicit Builder(RowJson* out) : Base(*out, /*allow_exceptions=*/false) {}

  bool start_object(size_t size) {
    keys_.emplace_back();
    return Deeper() && Base::start_object(size);
  }
  bool end_object() {
    keys_.pop_back();
    --depth_;
    return Base::end_object();
  }
  bool start_array(size_t size) { return Deeper() && Base::start_array(size); }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }
  bool key(std::string& key) {
    if (!keys_.back().insert(key).second) {
      error_ = absl::StrCat("key ", Quoted(key), " stands twice in one object: keep one of them");
      return false;
    }
    return Base::key(key);
  }
  bool number_float(double value, const std::string& text) {
    if (text.find_first_of(".eE") == std::string::npos) {
      error_ =
          absl::StrCat("the integer ", Printable(text), " is beyond 64 bits: write it as a string");
      return false;
    }
    return Base::number_float(value, text);
  }
  bool parse_error(size_t byte, const std::string&, const nlohmann::detail::exception& error) {
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
  bool Deeper() {
    if (++depth_ <= kMaxDepth) return true;
    error_ = absl::StrCat("JSON nested deeper than ", kMaxDepth, " levels");
    return false;
  }

  std::string error_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<RowJson> ParseRowJson(const std::string& text, const std::string& where) {
  const size_t bad = FindInvalidUtf8(text);
  if (bad != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": not UTF-8 at byte ", bad, ": save the file as UTF-8"));
  }
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
