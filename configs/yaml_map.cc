#include "configs/yaml_map.h"

#include <sys/stat.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fttrain::config {
namespace {

// A run's configuration merges a handful of maps; anchors that contain themselves merge forever.
constexpr int kMostMerges = 100;

class Merger {
 public:
  Merger(std::vector<YamlEntry>& entries, const ReportFault& report)
      : entries_(entries), report_(report) {
    for (const YamlEntry& entry : entries) taken_.insert(entry.key);
  }

  void Merge(int line, const YAML::Node& value) {
    if (++merges_ > kMostMerges) {
      if (merges_ == kMostMerges + 1) {
        report_(line, absl::StrCat("merge key '<<' merges more than ", kMostMerges, " maps"));
      }
      return;
    }
    if (value.IsSequence()) {
      for (const YAML::Node& element : value) Merge(line, element);
      return;
    }
    if (!value.IsMap()) {
      report_(line, "merge key '<<' needs an anchored map or a list of them");
      return;
    }
    std::vector<YAML::Node> deeper;
    for (const auto& pair : value) {
      if (!pair.first.IsScalar()) continue;  // reported where the anchored map stands
      if (pair.first.Scalar() == "<<") {
        deeper.push_back(pair.second);
      } else if (taken_.insert(pair.first.Scalar()).second) {
        entries_.push_back({pair.first.Scalar(), LineOf(pair.first), pair.second});
      }
    }
    for (const YAML::Node& node : deeper) Merge(line, node);
  }

 private:
  std::vector<YamlEntry>& entries_;
  const ReportFault& report_;
  std::set<std::string> taken_;
  int merges_ = 0;
};

// Length of the UTF-8 sequence at `at`, 0 if there is none (overlong and surrogates included).
size_t Utf8Length(const std::string& text, size_t at) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const auto is_tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at), second = byte(at + 1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return is_tail(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool overlong = first == 0xE0 && second < 0xA0,
               surrogate = first == 0xED && second > 0x9F;
    return !overlong && !surrogate && is_tail(at + 1) && is_tail(at + 2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool overlong = first == 0xF0 && second < 0x90, beyond = first == 0xF4 && second > 0x8F;
    const bool tails = is_tail(at + 1) && is_tail(at + 2) && is_tail(at + 3);
    return !overlong && !beyond && tails ? 4 : 0;
  }
  return 0;
}

absl::Status AtLine(int line, const std::string& message) {
  return absl::InvalidArgumentError(line > 0 ? absl::StrCat(line, ": ", message) : message);
}

bool IsTabIndented(const std::string& text, int line) {
  size_t start = 0;
  for (int i = 1; i < line; ++i) {
    const size_t end = text.find('\n', start);
    if (end == std::string::npos) return false;
    start = end + 1;
  }
  const size_t word = text.find_first_not_of(" \t", start);
  return text.substr(start, word - start).find('\t') != std::string::npos;
}

bool IsUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

// Notes where a document begins and whether it has anything in it. Throws where a word is no text:
// yaml-cpp makes single bytes of the escapes \N and \_.
class DocumentWatcher : public YAML::EventHandler {
 public:
  int line() const { return line_; }
  bool is_empty() const { return events_ == 0; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    line_ = mark.line + 1;
    events_ = 0;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override { ++events_; }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                const std::string& value) override {
    ++events_;
    if (IsUtf8(value)) return;
    throw YAML::ParserException(mark,
                                R"(the escapes \N and \_ are not known: write \u0085 or \u00a0)");
  }
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    ++events_;
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    ++events_;
  }
  void OnMapEnd() override {}

 private:
  int line_ = 0;
  int events_ = 0;
};

// An empty document may follow the first (a closing "---"), nothing else. YAML::LoadAll would not
// do: a stray token that the parser cannot consume gives it documents without end.
absl::Status CheckOneDocument(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentWatcher watcher;
  if (!parser.HandleNextDocument(watcher) || !parser.HandleNextDocument(watcher)) {
    return absl::OkStatus();
  }
  const int line = watcher.line();
  if (watcher.is_empty() && !parser.HandleNextDocument(watcher)) return absl::OkStatus();
  return AtLine(line, "unexpected text: the file must be one map of sections");
}

}  // namespace

absl::Status CheckCharacters(const std::string& text) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%d: byte 0x%02x is not UTF-8 text", line, byte));
    }
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%d: control character 0x%02x is not allowed", line, byte));
    }
    if (byte == '\n') ++line;
    i += length;
  }
  return absl::OkStatus();
}

int LineOf(const YAML::Node& node) { return node.Mark().is_null() ? 0 : node.Mark().line + 1; }

std::vector<YamlEntry> EntriesOf(const YAML::Node& map, const ReportFault& report) {
  std::vector<YamlEntry> entries;
  std::vector<std::pair<int, YAML::Node>> merges;
  std::map<std::string, int> line_of_key;
  for (const auto& pair : map) {
    const int line = LineOf(pair.first);
    if (!pair.first.IsScalar()) {
      report(line, "a key must be a word");
      continue;
    }
    const std::string key = pair.first.Scalar();
    if (key == "<<") {
      merges.emplace_back(line, pair.second);
      continue;
    }
    const auto [first, is_new] = line_of_key.emplace(key, line);
    if (is_new) {
      entries.push_back({key, line, pair.second});
    } else {
      report(line, absl::StrCat("key '", key, "' appears twice, first on line ", first->second));
    }
  }
  Merger merger(entries, report);
  for (const auto& [line, value] : merges) merger.Merge(line, value);
  return entries;
}

std::string WordsOf(const YAML::Exception& error) {
  std::string words = error.msg;
  for (char& c : words) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return words;
}

YAML::Node LoadYaml(const std::string& text) {
  std::istringstream stream(text);
  DocumentWatcher watcher;
  YAML::Parser(stream).HandleNextDocument(watcher);
  return YAML::Load(text);
}

absl::StatusOr<YAML::Node> ParseYamlMap(const std::string& text) {
  if (absl::Status status = CheckCharacters(text); !status.ok()) return status;
  try {
    if (absl::Status status = CheckOneDocument(text); !status.ok()) return status;
    YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return AtLine(0, "is empty: see configs/quickstart.yaml for an example");
    if (root.IsMap()) return root;
    return AtLine(
        LineOf(root),
        absl::StrCat("the file must be a map of sections (model:, data:, train:, ...), not ",
                     root.IsSequence() ? "a list" : "a single value"));
  } catch (const YAML::DeepRecursion& error) {
    return AtLine(error.mark.line + 1, "YAML syntax: nested too deeply");
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 0 : error.mark.line + 1;
    return AtLine(
        line, absl::StrCat("YAML syntax: ", WordsOf(error),
                           IsTabIndented(text, line) ? " (indented with a tab: use spaces)" : ""));
  }
}

absl::StatusOr<std::string> ReadYamlFile(const std::string& path) {
  constexpr size_t kLargestBytes = 256 * 1024;
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const std::string message = absl::StrCat(path, ": ", std::strerror(errno));
    return errno == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
  }
  if (S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a folder, not a YAML file"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  // Bounded, since a pipe or a device has no size.
  std::string text(kLargestBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return absl::InvalidArgumentError(absl::StrCat(path, ": cannot be read"));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kLargestBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is longer than ", kLargestBytes,
                                                   " bytes: this is no run configuration"));
  }
  return text;
}

}  // namespace fttrain::config
