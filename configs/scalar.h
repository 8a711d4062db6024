// One YAML scalar -> one typed field.
#pragma once

#include <google/protobuf/message.h>
#include <yaml-cpp/yaml.h>

#include <string>

namespace fttrain::config {

// Sets `field` of `message` (appends, if it is a list) from `value`, a scalar. Numbers are decimal,
// unquoted, without underscores, finite and in the field's range; booleans are true, false, yes,
// no; text is not empty and has no control characters; enums are one of their words. `key` is the
// dotted name used in messages. Returns "" or what is wrong, and then leaves the field as it was.
std::string SetScalar(const YAML::Node& value, const std::string& key,
                      const google::protobuf::FieldDescriptor& field,
                      google::protobuf::Message& message);

}  // namespace fttrain::config
