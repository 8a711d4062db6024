// JSON from files that nobody vouches for: parsing it, and typed access to what was parsed that
// names file and key in every refusal. Include in .cc files only (it is slow to compile).
#pragma once

#include <cstdint>
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

  // InvalidArgument "PATH: WHAT".
  absl::Status Error(absl::string_view what) const;
  absl::Status Unsupported() const;  // "PATH: 'VALUE' is not supported"

  // The value, or `fallback` where it is absent or null; an error if it has another type.
  absl::StatusOr<std::string> String(std::optional<std::string> fallback = std::nullopt) const;
  absl::StatusOr<bool> Bool(bool fallback) const;
  absl::StatusOr<int64_t> Int(int64_t low, int64_t high) const;
  absl::Status IsArray() const;
  absl::Status IsObject() const;
  // Refuses a switch that this program cannot honour: absent, null, false, "" and 0 pass.
  absl::Status MustBeOff(const char* key) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace fttrain
