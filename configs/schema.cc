#include "configs/schema.h"

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/run_config.pb.h"

namespace fttrain::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;

// DeviceChoice -> "DEVICE_CHOICE_": the prefix of its values' names.
std::string EnumPrefix(const std::string& type_name) {
  std::string prefix;
  for (const char c : type_name) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return prefix + "_";
}

std::string ExampleValue(const FieldDescriptor& field) {
  if (field.enum_type() != nullptr) return EnumWord(*field.enum_type()->value(1));
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return field.name() == "path" ? "FILE" : "WORD";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true";
    default:
      return "1";
  }
}

}  // namespace

std::string EnumWord(const EnumValueDescriptor& value) {
  return absl::AsciiStrToLower(value.name().substr(EnumPrefix(value.type()->name()).size()));
}

std::vector<std::string> EnumWords(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) words.push_back(EnumWord(*type.value(i)));
  }
  return words;
}

bool IsRegex(const std::string& text) {
  return !absl::c_all_of(text, [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
  });
}

std::vector<std::string> KeysOf(const Descriptor& section) {
  std::vector<std::string> keys;
  for (int i = 0; i < section.field_count(); ++i) keys.push_back(section.field(i)->name());
  return keys;
}

std::vector<std::string> AllKeys(const Descriptor& section) {
  std::vector<std::string> keys;
  for (int i = 0; i < section.field_count(); ++i) {
    const FieldDescriptor& field = *section.field(i);
    const bool is_section = field.message_type() != nullptr;
    if (!is_section || field.is_repeated()) keys.push_back(field.name());
    if (!is_section || field.options().GetExtension(as_map)) continue;
    for (const std::string& key : AllKeys(*field.message_type())) {
      keys.push_back(absl::StrCat(field.name(), field.is_repeated() ? "[]." : ".", key));
    }
  }
  return keys;
}

bool StandsForAList(const std::string& text, const FieldDescriptor& field) {
  const google::protobuf::FieldOptions& options = field.options();
  const std::string& one = options.GetExtension(one_value);
  return one == "element" ||
         (one == "regex" && (text == options.GetExtension(by_default) || IsRegex(text)));
}

std::string FormsOf(const FieldDescriptor& field) {
  const google::protobuf::FieldOptions& options = field.options();
  if (options.GetExtension(as_map)) return "a map";
  if (options.GetExtension(one_value) != "regex") return "a list";
  const std::string& word = options.GetExtension(by_default);
  return absl::StrCat(word.empty() ? "" : absl::StrCat("the word ", word, ", "),
                      "a regular expression or a list");
}

std::string Example(const FieldDescriptor& field) {
  if (field.message_type() == nullptr) {
    const bool of_words = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    return absl::StrCat(field.name(), of_words ? ": [q_proj, v_proj]" : ": [18, 14]");
  }
  if (field.options().GetExtension(as_map)) return absl::StrCat(field.name(), ": {q_proj: 8}");
  const FieldDescriptor& first = *field.message_type()->field(0);
  if (!field.is_repeated()) {
    if (first.is_repeated()) return absl::StrCat(field.name(), ": {", Example(first), "}");
    return absl::StrCat(field.name(), ": {", first.name(), ": ", ExampleValue(first), "}");
  }
  // The first key of an element is the one it must have.
  return absl::StrCat(field.name(), ": [{", first.name(), ": ", ExampleValue(first), "}]");
}

std::string RangeText(const FieldDescriptor& field) {
  const google::protobuf::FieldOptions& options = field.options();
  std::vector<std::string> parts;
  const auto add = [&](const char* words, const auto& limit) {
    if (!options.HasExtension(limit)) return;
    parts.push_back(absl::StrCat(words, " ", options.GetExtension(limit)));
  };
  add("at least", at_least);
  add("above", above);
  add("at most", at_most);
  add("below", below);
  return absl::StrJoin(parts, " and ");
}

bool InRange(const FieldDescriptor& field, double value) {
  const google::protobuf::FieldOptions& options = field.options();
  return !(options.HasExtension(at_least) && value < options.GetExtension(at_least)) &&
         !(options.HasExtension(above) && value <= options.GetExtension(above)) &&
         !(options.HasExtension(at_most) && value > options.GetExtension(at_most)) &&
         !(options.HasExtension(below) && value >= options.GetExtension(below));
}

}  // namespace fttrain::config
