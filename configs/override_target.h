// What --set section.key=value points at, and what its value is.
#pragma once

#include <google/protobuf/message.h>
#include <yaml-cpp/yaml.h>

#include <string>

#include "configs/load_config.h"

namespace fttrain::config {

// "data" and "train[0]" -> "data.train[0]"; `path` may be "".
std::string Joined(const std::string& path, const std::string& key);

// The message that holds a field, and the field.
struct OverrideTarget {
  google::protobuf::Message* section = nullptr;
  const google::protobuf::FieldDescriptor* field = nullptr;
  std::string path;  // as KeyLocations have it
};

// Walks "data.train.0.path" down from `root`. Returns "" or what is wrong.
std::string FindTarget(const std::string& dotted, google::protobuf::Message& root,
                       OverrideTarget& target);

// The value of an override as YAML. Text and words are taken as they are unless quoted, so that
// paths with ':' or '#' need no second quoting. Throws YAML::Exception.
YAML::Node OverrideValue(const std::string& text, const google::protobuf::FieldDescriptor& field);

// Two keys that say the same: the file's gives way to an override of the other.
void TakeTheOthersPlace(const OverrideTarget& target, KeyLocations& where);

}  // namespace fttrain::config
