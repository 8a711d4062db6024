// JSON from files that nobody vouches for: parsing it, and typed access to what was parsed that
// names file and key in every refusal. Include in .cc files only (it is slow to compile).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

// Parses text from outside. InvalidArgument "NAME: ..." for what is not one JSON value, is not
// UTF-8 or is nested deeper than 64. Of equal keys the last counts.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, const std::string& name);

// Parses the object of a small file (a config): as above, but refuses NUL bytes and equal keys, and
// nests at most 32 deep.
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, const std::string& path);

// A value that knows where it stands, however deep:
// "tokenizer.json: pre_tokenizer.pretokenizers[1].type: 'Foo' is not supported".
class JsonNode {
 public:
  // `path` begins with the file's name; `value` is null for an absent key and must outlive the
  // node.
  JsonNode(const nlohmann::json* value, std::string path) : value_(value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool present() const { return value_ != nullptr && !value_->is_null(); }
  size_t size() const { return value_->size(); }  // of an array

  JsonNode operator[](const char* key) const;  // absent where this is no object
  JsonNode operator[](size_t i) const;         // of an array; i < size()

  // InvalidArgument "PATH: WHAT", in printable words.
  absl::Status Error(absl::string_view what) const;
  absl::Status Unsupported() const;  // "PATH: 'VALUE' is not supported"

  // The value, or `fallback` where it is absent or null; an error if it has another type.
  absl::StatusOr<std::string> String(std::optional<std::string> fallback = std::nullopt) const;
  absl::StatusOr<bool> Bool(bool fallback) const;
  absl::StatusOr<int64_t> Int(int64_t low, int64_t high) const;  // of parsed text; not "-0"
  absl::Status IsArray() const;
  absl::Status IsObject() const;
  // An object without keys other than these.
  absl::Status OnlyKeys(std::initializer_list<std::string_view> known) const;
  // Refuses a switch that this program cannot honour: absent, null, false, "" and 0 pass.
  absl::Status MustBeOff(const char* key) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

// The keys of one flat object: "config.json: 'hidden_size' is missing". The first error stays;
// getters return the default from then on.
class JsonKeys {
 public:
  using Json = nlohmann::json;
  // `object` must outlive the reader.
  JsonKeys(const nlohmann::json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  // The value; null where the key is absent or null.
  const nlohmann::json* Find(const char* key) const;
  bool Contains(const char* key) const { return object_.contains(key); }

  // Each refuses another type; without `absent` it refuses an absent key, too.
  int64_t Int(const char* key, int64_t least, std::optional<int64_t> absent = {});  // < 2^31
  double Positive(const char* key, std::optional<double> absent = {});              // finite
  bool Bool(const char* key, bool absent);
  std::string Text(const char* key, std::string absent);
  std::vector<int64_t> Ids(const char* key);  // a list of integers, or one integer, or nothing

  void Fail(const std::string& key, const std::string& message);
  // What the keys of an inner object complain of, unless there was an error before.
  void Adopt(const absl::Status& inner) {
    if (status_.ok()) status_ = inner;
  }
  const absl::Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  template <typename T>
  T Absent(const char* key, std::optional<T> absent) {
    if (!absent) Fail(key, "is missing");
    return absent.value_or(1);
  }

  const nlohmann::json& object_;
  std::string where_;
  absl::Status status_;
};

}  // namespace fttrain
