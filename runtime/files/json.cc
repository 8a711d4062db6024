#include "runtime/files/json.h"

#include <algorithm>
#include <set>

namespace fttrain {
namespace {

constexpr int kMaxDepth = 64, kMaxObjectDepth = 32;
constexpr int64_t kEnd = int64_t{1} << 31;
constexpr size_t kMostOfAnError = 4000;  // bytes; what a file's text could make long

// Deepest nesting of brackets outside strings, also of text that is not JSON.
int Depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

// What is wrong with an object's text: its syntax, its depth, a key that stands twice.
struct Watch : nlohmann::detail::json_sax_acceptor<nlohmann::json> {
  std::string error;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  int depth = 0;

  bool Deeper() {
    if (++depth > kMaxObjectDepth) error = absl::StrCat("nested deeper than ", kMaxObjectDepth);
    return error.empty();
  }
  bool start_object(size_t) {
    keys.emplace_back();
    return Deeper();
  }
  bool end_object() {
    keys.pop_back();
    --depth;
    return true;
  }
  bool start_array(size_t) { return Deeper(); }
  bool end_array() {
    --depth;
    return true;
  }
  bool key(std::string& key) {
    if (!keys.back().insert(key).second) {
      error = absl::StrCat("key '", Printable(key), "' appears twice");
    }
    return error.empty();
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) {
    // Without the bracketed id of the error.
    const std::string_view what = e.what();
    const size_t end = what.find("] ");
    error = Printable(end == std::string_view::npos ? what : what.substr(end + 2));
    return false;
  }
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, const std::string& name) {
  if (Depth(text) > kMaxDepth) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": JSON nested deeper than ", kMaxDepth, " levels"));
  }
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": the
    // words after the place.
    const std::string what = error.what();
    const size_t colon = what.find(": ");
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": not valid JSON at byte ", error.byte, ": ",
                     Printable(colon == std::string::npos ? what : what.substr(colon + 2))));
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": not valid JSON: ", Printable(error.what())));
  }
}

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, const std::string& path) {
  // The parser takes a NUL byte for the end of its input and would ignore what follows.
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": byte ", nul + 1, ": NUL in JSON text"));
  }
  // A first pass that builds nothing: with a callback the parser takes time of the square of an
  // object's size.
  Watch watch;
  nlohmann::json::sax_parse(text.begin(), text.end(), &watch);
  nlohmann::json parsed;
  if (watch.error.empty()) parsed = nlohmann::json::parse(text.begin(), text.end());
  if (watch.error.empty() && !parsed.is_object()) watch.error = "not a JSON object";
  if (watch.error.empty()) return parsed;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", watch.error));
}

JsonNode JsonNode::operator[](const char* key) const {
  const nlohmann::json* child = nullptr;
  if (present() && value_->is_object()) {
    const auto it = value_->find(key);
    if (it != value_->end()) child = &*it;
  }
  const bool at_root = path_.find(": ") == std::string::npos;
  return JsonNode(child, absl::StrCat(path_, at_root ? ": " : ".", Printable(key)));
}

JsonNode JsonNode::operator[](size_t i) const {
  const bool at_root = path_.find(": ") == std::string::npos;
  return JsonNode(&(*value_)[i], absl::StrCat(path_, at_root ? ": [" : "[", i, "]"));
}

absl::Status JsonNode::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": ", Printable({what.data(), what.size()}, kMostOfAnError)));
}

absl::Status JsonNode::Unsupported() const {
  if (!present() || !value_->is_string()) return Error("this value is not supported");
  return Error(
      absl::StrCat("'", Printable(value_->get_ref<const std::string&>()), "' is not supported"));
}

absl::StatusOr<std::string> JsonNode::String(std::optional<std::string> fallback) const {
  if (!present() && fallback.has_value()) return *std::move(fallback);
  if (!present() || !value_->is_string()) return Error("a string is needed");
  return value_->get_ref<const std::string&>();
}

absl::StatusOr<bool> JsonNode::Bool(bool fallback) const {
  if (!present()) return fallback;
  if (!value_->is_boolean()) return Error("true or false is needed");
  return value_->get<bool>();
}

absl::StatusOr<int64_t> JsonNode::Int(int64_t low, int64_t high) const {
  if (!present() || !value_->is_number_integer()) return Error("an integer is needed");
  // "-0" is none to the programs in Rust that most such files are for; parsed, only that is a
  // zero with a sign.
  if (*value_ == 0 && !value_->is_number_unsigned()) return Error("an integer is needed");
  const bool huge =
      value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t v = huge ? INT64_MAX : value_->get<int64_t>();
  if (v < low || v > high) return Error(absl::StrCat(v, " is not in [", low, ", ", high, "]"));
  return v;
}

absl::Status JsonNode::IsArray() const {
  return present() && value_->is_array() ? absl::OkStatus() : Error("an array is needed");
}

absl::Status JsonNode::IsObject() const {
  return present() && value_->is_object() ? absl::OkStatus() : Error("an object is needed");
}

absl::Status JsonNode::OnlyKeys(std::initializer_list<std::string_view> known) const {
  FT_RETURN_IF_ERROR(IsObject());
  for (const auto& [key, value] : value_->items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return Error(absl::StrCat("key '", Printable(key), "' is not known"));
  }
  return absl::OkStatus();
}

absl::Status JsonNode::MustBeOff(const char* key) const {
  const JsonNode node = (*this)[key];
  if (!node.present() || node.value() == false || node.value() == "" || node.value() == 0.0) {
    return absl::OkStatus();
  }
  return node.Error("this option is not supported");
}

const nlohmann::json* JsonKeys::Find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

int64_t JsonKeys::Int(const char* key, int64_t least, std::optional<int64_t> absent) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Absent(key, absent);
  if (!value->is_number_integer()) return Fail(key, "must be an integer"), least;
  const int64_t number = value->get<int64_t>();  // a huge unsigned value wraps to a negative one
  if (number >= least && number < kEnd) return number;
  return Fail(key, absl::StrCat("is ", value->dump(), ", must be in [", least, ", 2^31)")), least;
}

double JsonKeys::Positive(const char* key, std::optional<double> absent) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return Absent(key, absent);
  if (value->is_number() && value->get<double>() > 0) return value->get<double>();
  return Fail(key, absl::StrCat("is ", Printable(value->dump()), ", must be a positive number")), 1;
}

bool JsonKeys::Bool(const char* key, bool absent) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) return Fail(key, "must be true or false"), absent;
  return value->get<bool>();
}

std::string JsonKeys::Text(const char* key, std::string absent) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return absent;
  if (!value->is_string()) return Fail(key, "must be text"), absent;
  return value->get<std::string>();
}

std::vector<int64_t> JsonKeys::Ids(const char* key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr) return {};
  std::vector<int64_t> ids;
  for (const nlohmann::json& id : value->is_array() ? *value : nlohmann::json::array({*value})) {
    const bool good = id.is_number_unsigned() && id.get<uint64_t>() < uint64_t{kEnd};
    if (!good) return Fail(key, "must be a token id or a list of them"), ids;
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void JsonKeys::Fail(const std::string& key, const std::string& message) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(where_, ": '", Printable(key), "' ", Printable(message, kMostOfAnError)));
}

}  // namespace fttrain
