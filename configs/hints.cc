#include "configs/hints.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "configs/known_names.h"
#include "configs/nearest_word.h"
#include "configs/run_config.pb.h"
#include "configs/schema.h"

namespace fttrain::config {
namespace {

std::string Lower(const std::string& key) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(key), {{"-", "_"}});
}

// "data.train[3].path" -> "data.train[].path".
std::string WithoutIndex(const std::string& path) {
  const size_t open = path.find('['), close = path.find(']');
  if (open == std::string::npos || close == std::string::npos) return path;
  return absl::StrCat(path.substr(0, open + 1), path.substr(close));
}

std::string HintText(const Hint& hint, const std::string& key) {
  if (hint.key.empty()) return absl::StrCat("'", key, "' ", hint.note);
  return absl::StrCat("'", key, "' is ", hint.key, " here",
                      hint.note.empty() ? "" : absl::StrCat(" (", hint.note, ")"));
}

// Keys of the schema that a word in section `path` may mean. What a data file calls its keys is
// looked for beside its path only: elsewhere `output` or `text` mean something else.
std::vector<std::string> KeysNear(const std::string& path) {
  std::vector<std::string> keys;
  for (std::string& key : AllKeys(*RunConfig::descriptor())) {
    const bool of_file = absl::StrContains(key, ".fields.");
    const bool near = !path.empty() && absl::StartsWith(key, WithoutIndex(path));
    if (!of_file || near) keys.push_back(std::move(key));
  }
  return keys;
}

// Our own keys whose last word is `key`, outside the section `path` they were looked for in.
std::vector<std::string> SameKeyElsewhere(const std::string& key, const std::string& path) {
  std::vector<std::string> found;
  for (const std::string& known : KeysNear(path)) {
    const size_t dot = known.rfind('.');
    const std::string last = dot == std::string::npos ? known : known.substr(dot + 1);
    if (last == key) found.push_back(known);
  }
  return found;
}

}  // namespace

const std::vector<Hint>& AllHints() {
  static const auto& hints = *[] {
    auto* all = new std::vector<Hint>;
    const auto add = [&](const std::string& section, absl::Span<const Names> table,
                         const std::string& list = "data.train[]") {
      for (const Names& row : table) {
        const std::string key = absl::StrReplaceAll(row.key, {{"data.train[]", list}});
        for (const absl::string_view name : absl::StrSplit(row.names, ' ')) {
          all->push_back({section, std::string(name), key, row.note});
        }
      }
    };
    for (const char* list : {"data.train[]", "data.eval[]"}) add(list, NamesOfSources(), list);
    add("", NamesElsewhere());
    add("", NamesWithoutKey());
    return all;
  }();
  return hints;
}

std::string UnknownKeyMessage(const google::protobuf::Descriptor& section, const std::string& path,
                              const std::string& key) {
  for (const Hint& hint : AllHints()) {
    const bool applies = hint.section.empty() || hint.section == WithoutIndex(path);
    if (applies && hint.name == Lower(key)) return HintText(hint, key);
  }
  const std::vector<std::string> elsewhere = SameKeyElsewhere(Lower(key), path);
  if (!elsewhere.empty()) {
    return absl::StrCat("'", key, "' is ", absl::StrJoin(elsewhere, " or "), " here");
  }
  const std::string in = path.empty() ? "" : absl::StrCat(" in ", path);
  const std::vector<std::string> keys = KeysOf(section);
  if (const std::string near = NearestWord(key, keys); !near.empty()) {
    return absl::StrCat("unknown key '", key, "'", in, "; did you mean '", near, "'?");
  }
  std::vector<std::string> names;
  for (const std::string& known : KeysNear(path)) {
    names.push_back(known.substr(known.rfind('.') + 1));
  }
  if (const std::string near = NearestWord(key, names); !near.empty()) {
    return absl::StrCat("unknown key '", key, "'", in, "; did you mean '",
                        absl::StrJoin(SameKeyElsewhere(near, path), "' or '"), "'?");
  }
  return absl::StrCat("unknown key '", key, "'", in, "; keys are ", absl::StrJoin(keys, ", "));
}

std::string WordKnownElsewhere(const std::string& key, const std::string& word) {
  for (const KnownWord& row : KnownWords()) {
    if (WithoutIndex(key) == row.key && absl::AsciiStrToLower(word) == row.word) return row.ours;
  }
  return "";
}

}  // namespace fttrain::config
