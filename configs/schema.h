// Questions about the schema, answered by the descriptors of run_config.proto.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/generated_enum_reflection.h>

#include <string>
#include <vector>

namespace fttrain::config {

// The YAML word of an enum value: ADAPTER_METHOD_QLORA -> "qlora".
std::string EnumWord(const google::protobuf::EnumValueDescriptor& value);

// The same from the value itself: Word(ADAPTER_METHOD_QLORA) == "qlora".
template <typename Enum>
std::string Word(Enum value) {
  return EnumWord(*google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value));
}

// All words of an enum, without the unspecified one, in the schema's order.
std::vector<std::string> EnumWords(const google::protobuf::EnumDescriptor& type);

// The only element of a list of names that is written empty ((may_be_empty) in run_config.proto).
inline constexpr char kNoNames[] = "[]";

// Whether a text in a list of names is none but a regular expression.
bool IsRegex(const std::string& text);

// The names of a section's keys, in the schema's order.
std::vector<std::string> KeysOf(const google::protobuf::Descriptor& section);

// Every key below `section` that holds a value or a list, dotted ("adapter.quantization.type",
// "data.train[].path").
std::vector<std::string> AllKeys(const google::protobuf::Descriptor& section);

// Whether `text` may be there in place of the list `field`; and what may be, in words.
bool StandsForAList(const std::string& text, const google::protobuf::FieldDescriptor& field);
std::string FormsOf(const google::protobuf::FieldDescriptor& field);

// A line of YAML that shows how `field`, a section or a list, is written:
// "adapter: {method: lora}", "train: [{path: ..., format: messages}]".
std::string Example(const google::protobuf::FieldDescriptor& field);

// "at least 0 and below 1" from the field's range options; "" if it has none.
std::string RangeText(const google::protobuf::FieldDescriptor& field);
bool InRange(const google::protobuf::FieldDescriptor& field, double value);

}  // namespace fttrain::config
