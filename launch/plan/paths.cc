#include "launch/plan/paths.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runtime/files/user_path.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using google::protobuf::FieldDescriptor;

constexpr char kCachePrefix[] = "models--";
constexpr int64_t kMaxRefBytes = 4096;

void ExpandSection(google::protobuf::Message& section) {
  const google::protobuf::Reflection& reflection = *section.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(section, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->message_type() != nullptr && field->is_repeated()) {
      for (int i = 0; i < reflection.FieldSize(section, field); ++i) {
        ExpandSection(*reflection.MutableRepeatedMessage(&section, field, i));
      }
    } else if (field->message_type() != nullptr) {
      ExpandSection(*reflection.MutableMessage(&section, field));
    } else if (field->options().GetExtension(config::is_path)) {
      reflection.SetString(&section, field, ExpandHome(reflection.GetString(section, field)));
    }
  }
}

// Whether it may be ORG/NAME: two words of letters, digits, dots, dashes and underscores.
bool IsHubName(const std::string& path) {
  const auto is_word = [](absl::string_view word) {
    return !word.empty() && word.find_first_not_of('.') != word.npos && word[0] != '-' &&
           !absl::StrContains(word, "--") && std::all_of(word.begin(), word.end(), [](char c) {
             return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
           });
  };
  const std::vector<std::string> words = absl::StrSplit(path, '/');
  return words.size() == 2 && is_word(words[0]) && is_word(words[1]);
}

std::string LastOf(const fs::path& path) { return path.filename().string(); }

// models--ORG--NAME -> ORG/NAME; "" for a folder of another kind.
std::string NameOfCacheFolder(const std::string& folder) {
  if (!absl::StartsWith(folder, kCachePrefix)) return "";
  return absl::StrReplaceAll(folder.substr(sizeof(kCachePrefix) - 1), {{"--", "/"}});
}

// Without slashes at its end, which have no name.
fs::path Trimmed(const std::string& path) {
  const size_t end = path.find_last_not_of('/');
  return end == std::string::npos ? fs::path(path) : fs::path(path.substr(0, end + 1));
}

std::string Download(const std::string& name) {
  return absl::StrCat("`hf download ", name.empty() ? "ORG/NAME" : name, "`");
}

// What stopped a download leaves: links to blobs that are not there, or nothing at all.
absl::Status CheckComplete(const fs::path& snapshot, const std::string& key) {
  const std::string name = HubNameOf(snapshot.string());
  const auto incomplete = [&](const std::string& what) {
    return absl::NotFoundError(absl::StrCat(key, " ", Printable(snapshot.string()),
                                            " is an incomplete download: ", what,
                                            "; finish it with ", Download(name)));
  };
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(snapshot, error)) {
    if (!entry.is_symlink(error) || fs::exists(entry.path(), error)) continue;
    return incomplete(absl::StrCat(Printable(LastOf(entry.path())), " is a link to nothing"));
  }
  if (!fs::exists(snapshot / "config.json", error)) return incomplete("it has no config.json");
  return absl::OkStatus();
}

std::vector<std::string> SnapshotsOf(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder / "snapshots", error)) {
    if (entry.is_directory(error)) found.push_back(LastOf(entry.path()));
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The snapshot of models--ORG--NAME to use.
absl::StatusOr<std::string> SnapshotOf(const fs::path& folder, const std::string& key) {
  const std::vector<std::string> all = SnapshotsOf(folder);
  const std::string shown = absl::StrCat(key, " ", Printable(folder.string()));
  const std::string again = Download(NameOfCacheFolder(LastOf(folder)));
  const absl::StatusOr<std::string> ref =
      ReadFile((folder / "refs" / "main").string(), kMaxRefBytes);
  if (!ref.ok() && !absl::IsNotFound(ref.status())) return ref.status();
  std::string revision;
  if (ref.ok()) {
    revision = std::string(absl::StripAsciiWhitespace(*ref));
    if (std::find(all.begin(), all.end(), revision) == all.end()) {
      return absl::NotFoundError(
          absl::StrCat(shown, " is an incomplete download: refs/main names ", Printable(revision),
                       ", which is not in snapshots/; finish it with ", again));
    }
  } else if (all.empty()) {
    return absl::NotFoundError(absl::StrCat(
        shown, " is an incomplete download: it has no snapshot; finish it with ", again));
  } else if (all.size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(shown, " has ", all.size(),
                     " snapshots and no refs/main: give the folder of "
                     "one, snapshots/",
                     absl::StrJoin(all, " or snapshots/")));
  } else {
    revision = all.front();
  }
  const fs::path snapshot = folder / "snapshots" / revision;
  FT_RETURN_IF_ERROR(CheckComplete(snapshot, key));
  return snapshot.string();
}

absl::Status NotThere(const std::string& path, const std::string& key,
                      const std::vector<std::string>& roots) {
  const std::string shown = absl::StrCat(key, " ", Printable(path));
  if (!IsHubName(path)) {
    return absl::NotFoundError(absl::StrCat(
        shown, ": no such folder; models are not downloaded, give the folder of one that is"));
  }
  return absl::NotFoundError(absl::StrCat(
      shown, ": no such folder, and no model of that name in Hugging Face's cache (looked in ",
      absl::StrJoin(roots, ", "), "); models are not downloaded: `hf download ", path,
      " --local-dir models/", LastOf(path), "` does, then give models/", LastOf(path)));
}

void AddRoot(const char* variable, const char* below, std::vector<std::string>& roots) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return;
  const std::string root = ExpandHome(absl::StrCat(value, below));
  if (std::find(roots.begin(), roots.end(), root) == roots.end()) roots.push_back(root);
}

}  // namespace

void ExpandPaths(config::RunConfig& run) { ExpandSection(run); }

std::vector<std::string> HubCacheRoots() {
  std::vector<std::string> roots;
  AddRoot("HF_HUB_CACHE", "", roots);
  AddRoot("HF_HOME", "/hub", roots);
  AddRoot("XDG_CACHE_HOME", "/huggingface/hub", roots);
  AddRoot("HOME", "/.cache/huggingface/hub", roots);
  return roots;
}

absl::StatusOr<std::string> FindModelFolder(const std::string& path, const std::string& key,
                                            const std::vector<std::string>& roots) {
  std::error_code error;
  const fs::path folder = Trimmed(path);
  if (fs::is_directory(folder, error)) {
    const bool cached = !fs::exists(folder / "config.json", error) &&
                        (!NameOfCacheFolder(LastOf(folder)).empty() ||
                         fs::is_directory(folder / "snapshots", error));
    if (cached) return SnapshotOf(folder, key);
    if (HubNameOf(folder.string()) != folder.string()) {
      FT_RETURN_IF_ERROR(CheckComplete(folder, key));
    }
    return path;
  }
  if (fs::exists(folder, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, " ", Printable(path), " is a file: give the model's folder"));
  }
  if (!IsHubName(path)) return NotThere(path, key, roots);
  for (const std::string& root : roots) {
    const fs::path in_cache =
        fs::path(root) / absl::StrCat(kCachePrefix, absl::StrReplaceAll(path, {{"/", "--"}}));
    if (fs::is_directory(in_cache, error)) return SnapshotOf(in_cache, key);
  }
  return NotThere(path, key, roots);
}

absl::Status ResolveModelPath(config::RunConfig& run) {
  // Commands that only evaluate take a config that training's validation has not seen.
  if (!run.model().has_path()) {
    return absl::InvalidArgumentError(
        "'model.path' is missing: the folder of a Hugging Face model");
  }
  FT_ASSIGN_OR_RETURN(*run.mutable_model()->mutable_path(),
                      FindModelFolder(run.model().path(), "model.path", HubCacheRoots()));
  return absl::OkStatus();
}

std::string HubNameOf(const std::string& folder) {
  const fs::path snapshot = Trimmed(folder), snapshots = snapshot.parent_path();
  if (LastOf(snapshots) != "snapshots") return folder;
  const std::string name = NameOfCacheFolder(LastOf(snapshots.parent_path()));
  return name.empty() ? folder : name;
}

}  // namespace fttrain
