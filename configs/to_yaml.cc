#include "configs/to_yaml.h"

#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "configs/schema.h"
#include "configs/schema_comments.h"

namespace fttrain::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Plain where that reads back as the same text, else in double quotes.
std::string TextAsYaml(const std::string& text) {
  bool plain = !text.empty() && text[0] != '-' && text[0] != '=' && text[0] != '~' &&
               !absl::EqualsIgnoreCase(text, "null") && text != "---" && text != "...";
  std::string quoted = "\"";
  for (const char c : text) {
    plain =
        plain && (absl::ascii_isalnum(c) || absl::StrContains("_./-+=", absl::string_view(&c, 1)));
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return plain ? text : quoted + "\"";
}

// The shortest digits that read back as the same double.
std::string DoubleAsYaml(double value) {
  char digits[32];
  return std::string(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
}

std::string ScalarAsYaml(const Message& section, const FieldDescriptor& field) {
  const Reflection& reflection = *section.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(section, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection.GetInt64(section, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DoubleAsYaml(reflection.GetDouble(section, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(section, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumWord(*reflection.GetEnum(section, &field));
    default:
      return TextAsYaml(reflection.GetString(section, &field));
  }
}

// Of words or whole numbers.
std::string ListAsYaml(const Message& section, const FieldDescriptor& field) {
  const Reflection& reflection = *section.GetReflection();
  const bool of_words = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  const bool or_regex = field.options().GetExtension(one_value) == "regex";
  std::vector<std::string> words;
  for (int i = 0; i < reflection.FieldSize(section, &field); ++i) {
    words.push_back(of_words ? TextAsYaml(reflection.GetRepeatedString(section, &field, i))
                             : absl::StrCat(reflection.GetRepeatedInt32(section, &field, i)));
  }
  const bool alone = words.size() == 1 && or_regex;
  if (alone && reflection.GetRepeatedString(section, &field, 0) == kNoNames) return kNoNames;
  if (alone &&
      (words[0] == "all-linear" || IsRegex(reflection.GetRepeatedString(section, &field, 0)))) {
    return words[0];
  }
  return absl::StrCat("[", absl::StrJoin(words, ", "), "]");
}

// Of two-field sections: the first fields' values to the second's.
std::string MapAsYaml(const Message& section, const FieldDescriptor& field) {
  std::vector<std::string> pairs;
  for (int i = 0; i < section.GetReflection()->FieldSize(section, &field); ++i) {
    const Message& element = section.GetReflection()->GetRepeatedMessage(section, &field, i);
    const google::protobuf::Descriptor& type = *field.message_type();
    pairs.push_back(absl::StrCat(ScalarAsYaml(element, *type.field(0)), ": ",
                                 ScalarAsYaml(element, *type.field(1))));
  }
  return absl::StrCat("{", absl::StrJoin(pairs, ", "), "}");
}

class Writer {
 public:
  explicit Writer(Comments comments) : comments_(comments) {}

  std::string Write(const Message& root) && {
    WriteSection(root, 0);
    return std::move(text_);
  }

 private:
  void WriteSection(const Message& section, int indent) {
    std::vector<const FieldDescriptor*> fields;
    section.GetReflection()->ListFields(section, &fields);  // present ones, by number
    for (const FieldDescriptor* field : fields) {
      WriteComment(*field, indent);
      const std::string head = absl::StrCat(std::string(indent, ' '), field->name(), ":");
      if (field->message_type() == nullptr) {
        absl::StrAppend(
            &text_, head, " ",
            field->is_repeated() ? ListAsYaml(section, *field) : ScalarAsYaml(section, *field),
            "\n");
      } else if (field->options().GetExtension(as_map)) {
        absl::StrAppend(&text_, head, " ", MapAsYaml(section, *field), "\n");
      } else if (field->is_repeated()) {
        absl::StrAppend(&text_, head, "\n");
        WriteElementComments(*field->message_type(), indent + 2);
        WriteSectionList(section, *field, indent);
      } else {
        const Message& inner = section.GetReflection()->GetMessage(section, field);
        absl::StrAppend(&text_, head, inner.ByteSizeLong() == 0 ? " {}\n" : "\n");
        WriteSection(inner, indent + 2);
      }
    }
  }

  // Each element as one flow map: {path: a.jsonl, format: text}.
  void WriteSectionList(const Message& section, const FieldDescriptor& field, int indent) {
    for (int i = 0; i < section.GetReflection()->FieldSize(section, &field); ++i) {
      const Message& element = section.GetReflection()->GetRepeatedMessage(section, &field, i);
      absl::StrAppend(&text_, std::string(indent + 2, ' '), "- ", FlowMap(element), "\n");
    }
  }

  static std::string FlowMap(const Message& section) {
    std::vector<const FieldDescriptor*> fields;
    section.GetReflection()->ListFields(section, &fields);
    std::vector<std::string> pairs;
    for (const FieldDescriptor* field : fields) {
      const std::string value = field->message_type() != nullptr
                                    ? FlowMap(section.GetReflection()->GetMessage(section, field))
                                    : ScalarAsYaml(section, *field);
      pairs.push_back(absl::StrCat(field->name(), ": ", value));
    }
    return absl::StrCat("{", absl::StrJoin(pairs, ", "), "}");
  }

  // What the keys of a list's elements mean, once above them.
  void WriteElementComments(const google::protobuf::Descriptor& element, int indent) {
    if (comments_ == Comments::kNone) return;
    for (int i = 0; i < element.field_count(); ++i) {
      std::string head = absl::StrCat(element.field(i)->name(), ": ");
      for (const std::string& line : CommentOf(*element.field(i))) {
        absl::StrAppend(&text_, std::string(indent, ' '), "# ", head, line, "\n");
        head.assign(head.size(), ' ');
      }
    }
  }

  void WriteComment(const FieldDescriptor& field, int indent) {
    if (comments_ == Comments::kNone) return;
    for (const std::string& line : CommentOf(field)) {
      absl::StrAppend(&text_, std::string(indent, ' '), "# ", line, "\n");
    }
  }

  const Comments comments_;
  std::string text_;
};

}  // namespace

std::string ToYaml(const RunConfig& config, Comments comments) {
  return Writer(comments).Write(config);
}

}  // namespace fttrain::config
