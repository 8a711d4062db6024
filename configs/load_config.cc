#include "configs/load_config.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "configs/defaults.h"
#include "configs/faults.h"
#include "configs/hints.h"
#include "configs/override_target.h"
#include "configs/scalar.h"
#include "configs/schema.h"
#include "configs/yaml_map.h"

namespace fttrain::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// How to write section `field`, with the bare value that was given where it fits its first key:
// "adapter: lora" gives "adapter: {method: lora}".
std::string SectionFor(const YAML::Node& value, const FieldDescriptor& field) {
  const FieldDescriptor& first = *field.message_type()->field(0);
  const std::unique_ptr<Message> scratch(google::protobuf::MessageFactory::generated_factory()
                                             ->GetPrototype(field.message_type())
                                             ->New());
  const bool fits = value.IsScalar() && !first.is_repeated() &&
                    SetScalar(value, first.name(), first, *scratch).empty();
  if (!fits) return Example(field);
  return absl::StrCat(field.name(), ": {", first.name(), ": ", value.Scalar(), "}");
}

// Copies YAML into messages. One Reader per source: the file, or one override.
class Reader {
 public:
  // `place` is "run.yaml" (the line is appended) or "--set a.b=c" with is_override.
  Reader(std::string place, bool is_override, Faults& faults, KeyLocations& where)
      : place_(std::move(place)), is_override_(is_override), faults_(faults), where_(where) {}

  void ReadSection(const YAML::Node& map, const std::string& path, Message& section) {
    const auto report = [&](int line, const std::string& message) { Report(line, message); };
    for (const YamlEntry& entry : EntriesOf(map, report)) {
      const FieldDescriptor* field = section.GetDescriptor()->FindFieldByName(entry.key);
      if (field == nullptr) {
        Report(entry.line, UnknownKeyMessage(*section.GetDescriptor(), path, entry.key));
        continue;
      }
      ReadField(entry.value, entry.line, Joined(path, entry.key), *field, section);
    }
  }

  // `line` is the key's, for a value that has none.
  void ReadField(const YAML::Node& value, int line, const std::string& path,
                 const FieldDescriptor& field, Message& section) {
    if (value.IsNull()) return;
    where_[path] = At(line);
    if (field.is_repeated()) {
      ReadList(value, line, path, field, section);
    } else if (field.message_type() != nullptr) {
      if (!value.IsMap()) {
        Report(line, absl::StrCat("'", path, "' is a section: write ", SectionFor(value, field)));
        return;
      }
      ReadSection(value, path, *section.GetReflection()->MutableMessage(&section, &field));
    } else if (!value.IsScalar()) {
      Report(line, absl::StrCat("'", path, "' must be a single value, not a ",
                                value.IsMap() ? "map" : "list"));
    } else {
      const int value_line = std::max(line, LineOf(value));
      if (const std::string fault = SetScalar(value, path, field, section); !fault.empty()) {
        Report(value_line, fault);
      }
    }
  }

  void Report(int line, const std::string& message) {
    const int order = is_override_ ? std::numeric_limits<int>::max() : line;
    faults_.Add(order, absl::StrCat(At(line), ": ", message));
  }

 private:
  std::string At(int line) const {
    return is_override_ || line == 0 ? place_ : absl::StrCat(place_, ":", line);
  }

  void ReadList(const YAML::Node& value, int line, const std::string& path,
                const FieldDescriptor& field, Message& section) {
    const bool of_sections = field.message_type() != nullptr;
    if (value.IsMap() && field.options().GetExtension(as_map)) {
      ReadMap(value, line, path, field, section);
      return;
    }
    if (value.IsScalar() && StandsForAList(value.Scalar(), field)) {
      const std::string fault = SetScalar(value, path, field, section);
      if (!fault.empty()) Report(std::max(line, LineOf(value)), fault);
      return;
    }
    if (!value.IsSequence() || field.options().GetExtension(as_map)) {
      Report(line, absl::StrCat("'", path, "' is ", FormsOf(field), ": write ", Example(field)));
      return;
    }
    if (!of_sections && value.size() == 0) {
      if (field.options().GetExtension(may_be_empty)) {
        section.GetReflection()->AddString(&section, &field, kNoNames);
      } else {
        Report(line, absl::StrCat("'", path, "' is an empty list"));
      }
    }
    int index = 0;
    for (const YAML::Node& element : value) {
      ReadElement(element, line, absl::StrCat(path, "[", index++, "]"), field, section);
    }
  }

  // A map in place of a list of two-field sections.
  void ReadMap(const YAML::Node& map, int line, const std::string& path,
               const FieldDescriptor& field, Message& section) {
    const auto report = [&](int at, const std::string& message) { Report(at, message); };
    for (const YamlEntry& entry : EntriesOf(map, report)) {
      const int at = std::max(line, entry.line);
      const std::string name = Joined(path, entry.key);
      Message& element = *section.GetReflection()->AddMessage(&section, &field);
      const FieldDescriptor& value = *field.message_type()->field(1);
      const std::string fault =
          SetScalar(YAML::Node(entry.key), name, *field.message_type()->field(0), element);
      if (!fault.empty()) Report(at, fault);
      ReadField(entry.value, at, name, value, element);
      if (entry.value.IsNull()) Report(at, absl::StrCat("'", name, "' has no value"));
    }
  }

  void ReadElement(const YAML::Node& element, int list_line, const std::string& path,
                   const FieldDescriptor& field, Message& section) {
    // yaml-cpp places an empty element where the next token is.
    const int line = element.IsNull() ? list_line : std::max(list_line, LineOf(element));
    where_[path] = At(line);
    if (field.message_type() != nullptr) {
      if (element.IsMap()) {
        ReadSection(element, path, *section.GetReflection()->AddMessage(&section, &field));
      } else {
        Report(line, absl::StrCat("'", path, "' must be a map: write ", Example(field)));
      }
    } else if (!element.IsScalar()) {
      Report(line,
             absl::StrCat("'", path, "' must be a ",
                          field.cpp_type() == FieldDescriptor::CPPTYPE_STRING ? "word" : "number"));
    } else if (field.options().GetExtension(one_value) == "regex" && IsRegex(element.Scalar())) {
      Report(line,
             absl::StrCat("'", path, "' is no name; a regular expression stands alone: write ",
                          field.name(), ": '", element.Scalar(), "'"));
    } else if (const std::string fault = SetScalar(element, path, field, section); !fault.empty()) {
      Report(line, fault);
    }
  }

  const std::string place_;
  const bool is_override_;
  Faults& faults_;
  KeyLocations& where_;
};

void ApplyOverride(const std::string& override_text, RunConfig& config, Faults& faults,
                   KeyLocations& where) {
  Reader reader(absl::StrCat("--set ", override_text), /*is_override=*/true, faults, where);
  const size_t equals = override_text.find('=');
  if (equals == std::string::npos || equals == 0) {
    reader.Report(0, "write it as section.key=value");
    return;
  }
  const std::string dotted =
      absl::StrReplaceAll(override_text.substr(0, equals), {{"[", "."}, {"]", ""}});
  OverrideTarget target;
  if (const std::string fault = FindTarget(dotted, config, target); !fault.empty()) {
    reader.Report(0, fault);
    return;
  }
  const std::string text = override_text.substr(equals + 1);
  if (const absl::Status status = CheckCharacters(text); !status.ok()) {
    reader.Report(0, std::string(status.message().substr(status.message().find(' ') + 1)));
    return;
  }
  try {
    const YAML::Node value = OverrideValue(text, *target.field);
    if (value.IsNull() || target.field->is_repeated()) {
      target.section->GetReflection()->ClearField(target.section, target.field);
      where.erase(target.path);
    }
    reader.ReadField(value, 0, target.path, *target.field, *target.section);
    if (!value.IsNull()) TakeTheOthersPlace(target, where);
  } catch (const YAML::Exception& error) {
    reader.Report(0, absl::StrCat("YAML syntax: ", WordsOf(error)));
  }
}

}  // namespace

absl::StatusOr<LoadedConfig> ParseRunConfig(const std::string& text, const std::string& filename,
                                            const std::vector<std::string>& overrides) {
  LoadedConfig loaded;
  loaded.filename = filename;
  loaded.overrides = overrides;
  Faults faults;
  absl::StatusOr<YAML::Node> root = ParseYamlMap(text);
  if (!root.ok()) {
    const absl::string_view message = root.status().message();
    const bool has_line = !message.empty() && absl::ascii_isdigit(message[0]);
    return absl::InvalidArgumentError(absl::StrCat(filename, has_line ? ":" : ": ", message));
  }
  try {
    Reader(filename, /*is_override=*/false, faults, loaded.where)
        .ReadSection(*root, "", loaded.config);
  } catch (const YAML::Exception& error) {
    faults.Add(0, absl::StrCat(filename, ": YAML: ", WordsOf(error)));
  }
  for (const std::string& override_text : overrides) {
    ApplyOverride(override_text, loaded.config, faults, loaded.where);
  }
  if (absl::Status status = faults.AsStatus(); !status.ok()) return status;
  FillDefaults(loaded.config);
  return loaded;
}

absl::StatusOr<LoadedConfig> LoadRunConfig(const std::string& path,
                                           const std::vector<std::string>& overrides) {
  absl::StatusOr<std::string> text = ReadYamlFile(path);
  if (!text.ok()) return text.status();
  return ParseRunConfig(*text, path, overrides);
}

}  // namespace fttrain::config
