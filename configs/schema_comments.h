// The comments of run_config.proto, which protoc leaves out of the generated descriptors.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace fttrain::config {

// The lines of the comment above a field of the schema, without "//"; above a section that has no
// comment of its own, its message's. Empty if there is neither.
const std::vector<std::string>& CommentOf(const google::protobuf::FieldDescriptor& field);

}  // namespace fttrain::config
