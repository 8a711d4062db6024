#include "configs/schema_comments.h"

#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace fttrain::config {
namespace {

constexpr char kSchemaText[] =
#include "configs/schema_text.inc"
    ;

using CommentTable = std::map<std::string, std::vector<std::string>>;

// "AdapterConfig" and "AdapterConfig.r" -> the lines above them. Reads the subset of the language
// the schema is written in: one declaration a line, comments on lines of their own right above it.
CommentTable ReadComments() {
  CommentTable comments;
  std::string message;
  std::vector<std::string> lines;
  for (const absl::string_view raw : absl::StrSplit(kSchemaText, '\n')) {
    absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (absl::ConsumePrefix(&line, "//")) {
      lines.emplace_back(absl::StripAsciiWhitespace(line));
      continue;
    }
    // "message AdapterConfig {" or "optional int32 r = 2 [...];"
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() >= 3 && words[0] == "message") {
      message = words[1];
      comments[message] = lines;
    } else if (words.size() >= 5 && (words[0] == "optional" || words[0] == "repeated")) {
      comments[absl::StrCat(message, ".", words[2])] = lines;
    }
    lines.clear();
  }
  return comments;
}

}  // namespace

const std::vector<std::string>& CommentOf(const google::protobuf::FieldDescriptor& field) {
  static const auto& comments = *new CommentTable(ReadComments());
  static const auto& none = *new std::vector<std::string>();
  auto found = comments.find(absl::StrCat(field.containing_type()->name(), ".", field.name()));
  const bool has_own = found != comments.end() && !found->second.empty();
  if (!has_own && field.message_type() != nullptr) {
    found = comments.find(field.message_type()->name());
  }
  return found == comments.end() ? none : found->second;
}

}  // namespace fttrain::config
