#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/files/file_error.h"
#include "runtime/files/json.h"
#include "runtime/files/safetensors.h"
#include "runtime/files/safetensors_header.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr size_t kMaxListed = 20;

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// Also of a link to nothing, which opening it then names.
bool HasEntry(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

// Why the first of `names` that cannot be opened cannot: a Git LFS pointer, a link to nothing.
std::string Unreadable(const std::string& folder, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    int64_t bytes = 0;
    const absl::StatusOr<int> fd = OpenRegularFile(absl::StrCat(folder, "/", name), &bytes);
    if (!fd.ok()) return absl::StrCat("; ", std::string(fd.status().message()));
    close(*fd);
  }
  return "";
}

// "a, b, c and 4 more".
std::string Listed(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kMaxListed);
  std::string text =
      absl::StrJoin(names.begin(), names.begin() + shown, ", ",
                    [](std::string* out, const std::string& name) { *out += Printable(name); });
  if (shown < names.size()) absl::StrAppend(&text, " and ", names.size() - shown, " more");
  return text;
}

// Why a folder without safetensors cannot be used.
absl::Status NoWeights(const std::string& folder) {
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return FailedRead(errno, "open", folder);
  std::vector<std::string> unsupported;
  while (const dirent* item = readdir(dir)) {
    const std::string_view name = item->d_name;
    for (const char* ending : {".bin", ".pt", ".pth", ".gguf"}) {
      if (name.ends_with(ending)) unsupported.emplace_back(name);
    }
  }
  closedir(dir);
  std::sort(unsupported.begin(), unsupported.end());
  std::string message =
      absl::StrCat(folder, ": neither model.safetensors nor model.safetensors.index.json is here");
  if (!unsupported.empty()) {
    absl::StrAppend(&message, "; ", Listed(unsupported),
                    " not supported, convert to safetensors (transformers: save_pretrained)",
                    Unreadable(folder, unsupported));
  }
  return absl::NotFoundError(message);
}

// Whether a shard's name is a plain basename, so that it stays in the folder.
bool IsPlainName(std::string_view name) {
  return name.size() > 12 && name.size() < 256 && name.ends_with(".safetensors") &&
         name[0] != '.' && name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

// {"weight_map": {tensor: shard}, ...} of an index file: names to shards.
absl::StatusOr<std::map<std::string, std::string>> ParseShardIndex(std::string_view json,
                                                                   const std::string& path) {
  FT_ASSIGN_OR_RETURN(const nlohmann::json root, ParseJsonObject(json, path));
  const JsonNode map = JsonNode(&root, path)["weight_map"];
  FT_RETURN_IF_ERROR(map.IsObject());
  if (map.size() == 0) return map.Error("no tensors");
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, value] : map.value().items()) {
    const JsonNode shard(&value, absl::StrCat(path, ": tensor '", Printable(name), "'"));
    FT_ASSIGN_OR_RETURN(shard_of[name], shard.String());
    if (IsPlainName(shard_of[name])) continue;
    return shard.Error(absl::StrCat("shard '", Printable(shard_of[name]),
                                    "' is not a plain name ending in .safetensors"));
  }
  return shard_of;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> SafetensorsFolder::Open(
    const std::string& folder) {
  std::unique_ptr<SafetensorsFolder> result(new SafetensorsFolder());
  result->path_ = folder;
  const std::string single = absl::StrCat(folder, "/model.safetensors");
  const std::string index = absl::StrCat(folder, "/model.safetensors.index.json");
  if (HasEntry(single)) {
    FT_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(single));
    FT_RETURN_IF_ERROR(result->Add(std::move(file)));
  } else if (HasEntry(index)) {
    FT_RETURN_IF_ERROR(result->AddShards(index));
  } else {
    return NoWeights(folder);
  }
  return result;
}

absl::StatusOr<std::unique_ptr<SafetensorsFolder>> SafetensorsFolder::OpenFile(
    const std::string& path) {
  std::unique_ptr<SafetensorsFolder> result(new SafetensorsFolder());
  result->path_ = path;
  FT_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(path));
  FT_RETURN_IF_ERROR(result->Add(std::move(file)));
  return result;
}

absl::Status SafetensorsFolder::Add(std::unique_ptr<SafetensorsFile> file) {
  for (const auto& [name, entry] : file->entries()) {
    const auto [owner, is_new] = owner_.emplace(name, file.get());
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", Printable(name), "' is in both ",
                                                     owner->second->path(), " and ", file->path()));
    }
  }
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status SafetensorsFolder::AddShards(const std::string& index_path) {
  FT_ASSIGN_OR_RETURN(const std::string json, ReadFile(index_path, kMaxHeaderBytes));
  FT_ASSIGN_OR_RETURN(const auto shard_of, ParseShardIndex(json, index_path));
  std::set<std::string> shards;
  for (const auto& [name, shard] : shard_of) shards.insert(shard);
  std::vector<std::string> missing;
  for (const std::string& shard : shards) {
    if (!Exists(absl::StrCat(path_, "/", shard))) missing.push_back(shard);
  }
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat(path_, ": ", missing.size(), " of ", shards.size(),
                                            " shards missing: ", Listed(missing),
                                            " (an incomplete download?)"));
  }
  for (const std::string& shard : shards) {
    FT_ASSIGN_OR_RETURN(auto file, SafetensorsFile::Open(absl::StrCat(path_, "/", shard)));
    FT_RETURN_IF_ERROR(Add(std::move(file)));
  }
  std::vector<std::string> absent;
  for (const auto& [name, shard] : shard_of) {
    const auto owner = owner_.find(name);
    if (owner == owner_.end() || owner->second->path() != absl::StrCat(path_, "/", shard)) {
      absent.push_back(absl::StrCat(name, " (", shard, ")"));
    }
  }
  if (absent.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      index_path, ": ", absent.size(), " tensors are not in the shard it names: ", Listed(absent)));
}

std::vector<std::string> SafetensorsFolder::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : owner_) names.push_back(name);
  return names;
}

bool SafetensorsFolder::Contains(std::string_view name) const {
  return owner_.find(name) != owner_.end();
}

const SafetensorsEntry* SafetensorsFolder::Find(std::string_view name) const {
  const auto owner = owner_.find(name);
  return owner == owner_.end() ? nullptr : &owner->second->entries().find(name)->second;
}

const std::string& SafetensorsFolder::PathOf(std::string_view name) const {
  const auto owner = owner_.find(name);
  return owner == owner_.end() ? path_ : owner->second->path();
}

absl::Status SafetensorsFolder::ReadBytes(std::string_view name, int64_t offset_bytes,
                                          int64_t size_bytes, void* destination) const {
  const auto owner = owner_.find(name);
  if (owner == owner_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": no tensor '", Printable(name), "'"));
  }
  return owner->second->ReadBytes(name, offset_bytes, size_bytes, destination);
}

}  // namespace fttrain
