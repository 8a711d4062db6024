#include "configs/scalar.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/hints.h"
#include "configs/nearest_word.h"
#include "configs/schema.h"

namespace fttrain::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// yaml-cpp tags a quoted scalar "!" and a plain one "?" (or "" when made from a string).
bool IsQuoted(const YAML::Node& value) { return value.Tag() == "!"; }

// What the user wrote, for messages: one line, at most 40 characters.
std::string Shown(const YAML::Node& value) {
  constexpr size_t kMostShown = 40;
  std::string text;
  for (const char c : value.Scalar()) text += absl::ascii_iscntrl(c) ? ' ' : c;
  if (text.size() > kMostShown) text = absl::StrCat(text.substr(0, kMostShown), "...");
  return IsQuoted(value) ? absl::StrCat("\"", text, "\"") : absl::StrCat("'", text, "'");
}

std::string Unfit(const std::string& key, const std::string& wanted, const YAML::Node& value) {
  const std::string remedy = IsQuoted(value) ? ": remove the quotes" : "";
  return absl::StrCat("'", key, "' must be ", wanted, ", not ", Shown(value), remedy);
}

// The number's digits without a sign '+', which from_chars does not take.
std::string Digits(const std::string& text) { return text[0] == '+' ? text.substr(1) : text; }

bool HasLeadingZero(const std::string& text) {
  const size_t at = text[0] == '-' ? 1 : 0;
  return text.size() > at + 1 && text[at] == '0' && absl::ascii_isdigit(text[at + 1]);
}

std::string SetInteger(const YAML::Node& value, const std::string& key,
                       const FieldDescriptor& field, Message& message) {
  const std::string text = Digits(value.Scalar());
  const bool narrow = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool all_read = end == text.data() + text.size() && !text.empty();
  if (IsQuoted(value) || !all_read || error == std::errc::invalid_argument ||
      HasLeadingZero(text)) {
    return absl::StrCat(Unfit(key, "a whole number", value),
                        absl::StrContains(text, '_') ? ": write it without underscores" : "");
  }
  const bool fits =
      error == std::errc() && (!narrow || (number >= std::numeric_limits<int32_t>::min() &&
                                           number <= std::numeric_limits<int32_t>::max()));
  if (!fits) return absl::StrCat("'", key, "' is too large: ", Shown(value));
  if (!InRange(field, static_cast<double>(number))) return Unfit(key, RangeText(field), value);
  if (field.is_repeated()) {
    message.GetReflection()->AddInt32(&message, &field, static_cast<int32_t>(number));
  } else if (narrow) {
    message.GetReflection()->SetInt32(&message, &field, static_cast<int32_t>(number));
  } else {
    message.GetReflection()->SetInt64(&message, &field, number);
  }
  return "";
}

std::string SetDouble(const YAML::Node& value, const std::string& key, const FieldDescriptor& field,
                      Message& message) {
  const std::string text = Digits(value.Scalar());
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool all_read = end == text.data() + text.size() && !text.empty();
  // .nan and .inf are YAML's spellings, nan and inf from_chars'.
  const std::string word = absl::AsciiStrToLower(text);
  const bool is_infinite = word == ".nan" || word == ".inf" || word == "-.inf";
  if (is_infinite || (all_read && error == std::errc() && !std::isfinite(number))) {
    return Unfit(key, "a finite number", value);
  }
  if (IsQuoted(value) || !all_read || error == std::errc::invalid_argument) {
    return absl::StrCat(Unfit(key, "a number", value),
                        absl::StrContains(text, '_') ? ": write it without underscores" : "");
  }
  if (error == std::errc::result_out_of_range) {
    return absl::StrCat("'", key, "' is too large or too small: ", Shown(value));
  }
  if (!InRange(field, number)) return Unfit(key, RangeText(field), value);
  message.GetReflection()->SetDouble(&message, &field, number);
  return "";
}

std::string SetBool(const YAML::Node& value, const std::string& key, const FieldDescriptor& field,
                    Message& message) {
  const std::string word = absl::AsciiStrToLower(value.Scalar());
  const bool yes = word == "true" || word == "yes";
  if (IsQuoted(value) || (!yes && word != "false" && word != "no")) {
    return Unfit(key, "true or false", value);
  }
  message.GetReflection()->SetBool(&message, &field, yes);
  return "";
}

std::string SetText(const YAML::Node& value, const std::string& key, const FieldDescriptor& field,
                    Message& message) {
  const std::string& text = value.Scalar();
  if (text.empty()) return absl::StrCat("'", key, "' must not be empty");
  for (const char c : text) {
    if (absl::ascii_iscntrl(c)) {
      return absl::StrCat("'", key, "' contains a control character: ", Shown(value));
    }
  }
  if (const std::string ours = WordKnownElsewhere(key, text); !ours.empty()) {
    return absl::StrCat("'", key, "' cannot be ", Shown(value), "; did you mean '", ours, "'?");
  }
  if (field.is_repeated()) {
    message.GetReflection()->AddString(&message, &field, text);
  } else {
    message.GetReflection()->SetString(&message, &field, text);
  }
  return "";
}

std::string SetEnum(const YAML::Node& value, const std::string& key, const FieldDescriptor& field,
                    Message& message) {
  const google::protobuf::EnumDescriptor& type = *field.enum_type();
  // Of a key that is true, false or a third: in any spelling of those two.
  std::string word = absl::AsciiStrToLower(value.Scalar());
  if (word == "yes" || word == "no") word = word == "yes" ? "true" : "false";
  if (IsQuoted(value) || (word != "true" && word != "false")) word = value.Scalar();
  for (int i = 0; i < type.value_count(); ++i) {
    const auto* candidate = type.value(i);
    if (candidate->number() == 0 || EnumWord(*candidate) != word) continue;
    message.GetReflection()->SetEnum(&message, &field, candidate);
    return "";
  }
  const std::vector<std::string> words = EnumWords(type);
  std::string near = WordKnownElsewhere(key, value.Scalar());
  if (near.empty()) near = NearestWord(value.Scalar(), words);
  return absl::StrCat("'", key, "' cannot be ", Shown(value), ", only ", absl::StrJoin(words, ", "),
                      near.empty() ? "" : absl::StrCat("; did you mean '", near, "'?"));
}

}  // namespace

std::string SetScalar(const YAML::Node& value, const std::string& key, const FieldDescriptor& field,
                      Message& message) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return SetInteger(value, key, field, message);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return SetDouble(value, key, field, message);
    case FieldDescriptor::CPPTYPE_BOOL:
      return SetBool(value, key, field, message);
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(value, key, field, message);
    default:
      return SetText(value, key, field, message);
  }
}

}  // namespace fttrain::config
