// The map of a YAML file as a list of entries, with what yaml-cpp leaves out: duplicate keys are
// faults and merge keys ("<<: *anchor") are followed.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain::config {

struct YamlEntry {
  std::string key;
  int line;  // of the key, from 1
  YAML::Node value;
};

// Reports one fault at a line.
using ReportFault = std::function<void(int line, const std::string& message)>;

// The entries of `map` in the order written, then those merged in; a key of the map itself wins
// over a merged one, an earlier merged one over a later. Faults are reported and left out.
std::vector<YamlEntry> EntriesOf(const YAML::Node& map, const ReportFault& report);

// Line of a node, from 1; 0 if yaml-cpp does not know it.
int LineOf(const YAML::Node& node);

// Refuses text that is not UTF-8 or has control characters, as "LINE: what is wrong": yaml-cpp
// would replace the first and end a file at its first 0x04, both without a word.
absl::Status CheckCharacters(const std::string& text);

// The text of a YAML file, which may be a pipe. NotFound if there is none; InvalidArgument for a
// folder, what cannot be read, and more than 256 KiB.
absl::StatusOr<std::string> ReadYamlFile(const std::string& path);

// What yaml-cpp complains of. It quotes single bytes of the text: "unknown escape character: ?".
std::string WordsOf(const YAML::Exception& error);

// The value that `text` is. Throws YAML::Exception, also for the escapes \N and \_, of which
// yaml-cpp makes bytes that are not UTF-8.
YAML::Node LoadYaml(const std::string& text);

// The root map of the only document in `text`. Errors read "4: what is wrong" ("what is wrong" if
// the line is unknown): bytes that are not UTF-8, control characters, YAML syntax, nesting too
// deep, no document or anything behind it, a root that is no map.
absl::StatusOr<YAML::Node> ParseYamlMap(const std::string& text);

}  // namespace fttrain::config
