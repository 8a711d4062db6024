#include "configs/override_target.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "configs/hints.h"
#include "configs/yaml_map.h"

namespace fttrain::config {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string Joined(const std::string& path, const std::string& key) {
  return path.empty() ? key : absl::StrCat(path, ".", key);
}

std::string FindTarget(const std::string& dotted, Message& root, OverrideTarget& target) {
  target.section = &root;
  const std::vector<std::string> words = absl::StrSplit(dotted, '.');
  for (size_t i = 0; i < words.size(); ++i) {
    Message& section = *target.section;
    target.field = section.GetDescriptor()->FindFieldByName(words[i]);
    if (target.field == nullptr) {
      return UnknownKeyMessage(*section.GetDescriptor(), target.path, words[i]);
    }
    target.path = Joined(target.path, words[i]);
    if (i + 1 == words.size()) return "";
    const FieldDescriptor& field = *target.field;
    if (field.message_type() == nullptr) {
      return absl::StrCat("'", target.path, "' is a value: it has no key '", words[i + 1], "'");
    }
    if (!field.is_repeated()) {
      target.section = section.GetReflection()->MutableMessage(&section, &field);
      continue;
    }
    const int size = section.GetReflection()->FieldSize(section, &field);
    int index = -1;
    if (!absl::SimpleAtoi(words[++i], &index) || index < 0 || index >= size) {
      return absl::StrCat("'", target.path, "' has no element ", words[i], " (its length is ", size,
                          ", the first is 0)");
    }
    absl::StrAppend(&target.path, "[", index, "]");
    if (i + 1 == words.size()) return absl::StrCat("name a key of '", target.path, "'");
    target.section = section.GetReflection()->MutableRepeatedMessage(&section, &field, index);
  }
  return "";
}

YAML::Node OverrideValue(const std::string& text, const FieldDescriptor& field) {
  const bool is_word =
      !field.is_repeated() && (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING ||
                               field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM);
  const bool is_quoted = absl::StartsWith(text, "\"") || absl::StartsWith(text, "'");
  if (text.empty()) return YAML::Node(YAML::NodeType::Null);
  return is_word && !is_quoted ? YAML::Node(text) : LoadYaml(text);
}

void TakeTheOthersPlace(const OverrideTarget& target, KeyLocations& where) {
  const bool steps = target.path == "train.max_steps";
  if (!steps && target.path != "train.num_epochs") return;
  const char* other = steps ? "num_epochs" : "max_steps";
  const auto written = where.find(Joined("train", other));
  if (written == where.end() || absl::StartsWith(written->second, "--set")) return;
  const FieldDescriptor* field = target.section->GetDescriptor()->FindFieldByName(other);
  target.section->GetReflection()->ClearField(target.section, field);
  where.erase(written);
}

}  // namespace fttrain::config
