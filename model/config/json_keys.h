// Reading the config files of models and adapters. Include in .cc files only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "runtime/files/json.h"
#include "runtime/process/log.h"

namespace fttrain {

// Typed access to the keys of one object. The first error stays; getters return the default from
// then on.
class JsonKeys {
 public:
  using Json = nlohmann::json;

  JsonKeys(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // The value; null where the key is absent or null.
  const Json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool Contains(const char* key) const { return object_.contains(key); }

  int64_t Int(const char* key, int64_t least, std::optional<int64_t> absent = {}) {
    const Json* value = Find(key);
    if (value == nullptr) return Absent(key, absent);
    if (!value->is_number_integer()) return Fail(key, "must be an integer"), least;
    const int64_t number = value->get<int64_t>();  // a huge unsigned value wraps to a negative one
    if (number >= least && number < kEnd) return number;
    return Fail(key, absl::StrCat("is ", value->dump(), ", must be in [", least, ", 2^31)")), least;
  }

  // Positive and finite.
  double Positive(const char* key, std::optional<double> absent = {}) {
    const Json* value = Find(key);
    if (value == nullptr) return Absent(key, absent);
    if (value->is_number() && value->get<double>() > 0) return value->get<double>();
    return Fail(key, absl::StrCat("is ", Printable(value->dump()), ", must be a positive number")),
           1;
  }

  bool Bool(const char* key, bool absent) {
    const Json* value = Find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) return Fail(key, "must be true or false"), absent;
    return value->get<bool>();
  }

  std::string Text(const char* key, std::string absent) {
    const Json* value = Find(key);
    if (value == nullptr) return absent;
    if (!value->is_string()) return Fail(key, "must be text"), absent;
    return value->get<std::string>();
  }

  // A list of integers, or one integer, or nothing.
  std::vector<int64_t> Ids(const char* key) {
    const Json* value = Find(key);
    if (value == nullptr) return {};
    std::vector<int64_t> ids;
    for (const Json& id : value->is_array() ? *value : Json::array({*value})) {
      const bool good = id.is_number_unsigned() && id.get<uint64_t>() < uint64_t{kEnd};
      if (!good) return Fail(key, "must be a token id or a list of them"), ids;
      ids.push_back(id.get<int64_t>());
    }
    return ids;
  }

  void Fail(const std::string& key, const std::string& message) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(where_, ": '", key, "' ", message));
  }
  // What the keys of an inner object complain of, unless there was an error before.
  void Adopt(const absl::Status& inner) {
    if (status_.ok()) status_ = inner;
  }
  const absl::Status& status() const { return status_; }
  const std::string& where() const { return where_; }

 private:
  static constexpr int64_t kEnd = int64_t{1} << 31;

  template <typename T>
  T Absent(const char* key, std::optional<T> absent) {
    if (!absent) Fail(key, "is missing");
    return absent.value_or(1);
  }

  const Json& object_;
  std::string where_;
  absl::Status status_;
};

}  // namespace fttrain
