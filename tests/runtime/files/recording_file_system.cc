#include "tests/runtime/files/recording_file_system.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/process/check.h"

namespace fttrain {

class RecordingFileSystem::File : public NewFile {
 public:
  File(RecordingFileSystem& files, int node) : files_(files), node_(node) {}
  absl::Status Append(const void* data, int64_t size_bytes) override {
    files_.Do({.what = What::kWrite,
               .node = node_,
               .data = std::string(static_cast<const char*>(data), size_bytes)});
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    if (!files_.forget_file_syncs) files_.Do({.what = What::kSync, .node = node_});
    return absl::OkStatus();
  }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  RecordingFileSystem& files_;
  int node_;
};

RecordingFileSystem::RecordingFileSystem() : first_(1), nodes_(1) {
  first_[0].folder = nodes_[0].folder = true;
}

void RecordingFileSystem::Apply(const Operation& operation, std::vector<Node>* nodes) {
  Node& node = (*nodes)[operation.node];
  if (operation.what == What::kWrite) node.data += operation.data;
  if (operation.what == What::kLink) node.entries[operation.name] = operation.target;
  if (operation.what == What::kUnlink) node.entries.erase(operation.name);
}

void RecordingFileSystem::Do(Operation operation) {
  Apply(operation, &nodes_);
  log_.push_back(std::move(operation));
}

// The piece of a write that reached the disk, at its place in the file.
void RecordingFileSystem::TearWrite(const Operation& operation, std::mt19937_64& random,
                                    std::string* data) {
  const size_t size = operation.data.size();
  switch (random() % 5) {
    case 0:  // the size alone
      data->append(size, '\0');
      break;
    case 1:  // a beginning
      data->append(operation.data, 0, random() % (size + 1));
      break;
    case 2: {  // a middle
      const size_t begin = random() % (size + 1), end = begin + random() % (size - begin + 1);
      data->append(begin, '\0').append(operation.data, begin, end - begin).append(size - end, '\0');
      break;
    }
    case 3:  // what the blocks held before
      for (size_t i = 0; i < size; ++i) data->push_back(static_cast<char>(random()));
      break;
    default:
      data->append(operation.data);
  }
}

std::unique_ptr<RecordingFileSystem> RecordingFileSystem::AfterPowerCut(
    size_t operations, std::mt19937_64& random) const {
  auto after = std::make_unique<RecordingFileSystem>();
  std::vector<Node>& nodes = after->nodes_;
  nodes = first_;
  // Nodes are made in the order of their numbers; what they are is known from now.
  for (size_t i = nodes.size(); i < nodes_.size(); ++i) nodes.push_back({nodes_[i].folder, {}, {}});
  std::vector<size_t> synced(nodes.size(), 0);
  for (size_t i = 0; i < operations; ++i) {
    if (log_[i].what == What::kSync) synced[log_[i].node] = i;
  }
  // How much of the rest survives, so that all, none and each mixture is seen.
  const uint64_t entries_survive = random() % 5, writes_survive = random() % 5;
  const bool renames_are_whole = random() % 2 == 0;
  std::map<int, bool> of_rename;
  for (size_t i = 0; i < operations; ++i) {
    const Operation& operation = log_[i];
    if (i < synced[operation.node]) {
      Apply(operation, &nodes);
    } else if (operation.what == What::kWrite) {
      if (random() % 4 < writes_survive)
        Apply(operation, &nodes);
      else
        TearWrite(operation, random, &nodes[operation.node].data);
    } else {
      bool survives = random() % 4 < entries_survive;
      if (renames_are_whole && operation.rename >= 0) {
        survives = of_rename.emplace(operation.rename, survives).first->second;
      }
      if (survives) Apply(operation, &nodes);
    }
  }
  after->first_ = nodes;
  return after;
}

absl::StatusOr<RecordingFileSystem::Place> RecordingFileSystem::Find(
    const std::string& path) const {
  Place place{0, "", 0};
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (place.node < 0) return absl::NotFoundError(absl::StrCat("cannot find ", path));
    if (!nodes_[place.node].folder) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a folder on the way"));
    }
    place.folder = place.node;
    place.name = std::string(part);
    const auto found = nodes_[place.folder].entries.find(place.name);
    place.node = found == nodes_[place.folder].entries.end() ? -1 : found->second;
  }
  return place;
}

absl::StatusOr<int> RecordingFileSystem::Existing(const std::string& path, bool folder) const {
  FT_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0) return absl::NotFoundError(absl::StrCat("cannot find ", path));
  if (nodes_[place.node].folder == folder) return place.node;
  return absl::InvalidArgumentError(absl::StrCat(path, folder ? ": no folder" : ": no file"));
}

absl::StatusOr<int> RecordingFileSystem::Add(const std::string& path, bool folder) {
  FT_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node >= 0) return absl::AlreadyExistsError(absl::StrCat(path, ": is there"));
  const int node = static_cast<int>(nodes_.size());
  nodes_.push_back({folder, {}, {}});
  Do({.what = What::kLink, .node = place.folder, .name = place.name, .target = node});
  return node;
}

absl::StatusOr<std::unique_ptr<NewFile>> RecordingFileSystem::Create(const std::string& path,
                                                                     int64_t) {
  FT_ASSIGN_OR_RETURN(const int node, Add(path, false));
  return std::make_unique<File>(*this, node);
}

absl::Status RecordingFileSystem::MakeFolder(const std::string& path) {
  return Add(path, true).status();
}

absl::Status RecordingFileSystem::SyncFolder(const std::string& path) {
  FT_ASSIGN_OR_RETURN(const int node, Existing(path, true));
  if (!forget_folder_syncs) Do({.what = What::kSync, .node = node});
  return absl::OkStatus();
}

absl::Status RecordingFileSystem::Move(const std::string& from, const std::string& to,
                                       bool replace) {
  FT_ASSIGN_OR_RETURN(const Place source, Find(from));
  FT_ASSIGN_OR_RETURN(const Place target, Find(to));
  if (source.node < 0) return absl::NotFoundError(absl::StrCat("cannot find ", from));
  if (target.node >= 0 && !replace) return absl::AlreadyExistsError(absl::StrCat(to, ": is there"));
  if (target.node >= 0 && nodes_[target.node].folder) {
    return absl::InvalidArgumentError(absl::StrCat(to, ": is a folder"));
  }
  const int rename = renames_++;
  Do({.what = What::kLink,
      .node = target.folder,
      .name = target.name,
      .target = source.node,
      .rename = rename});
  Do({.what = What::kUnlink, .node = source.folder, .name = source.name, .rename = rename});
  return absl::OkStatus();
}

absl::Status RecordingFileSystem::Rename(const std::string& from, const std::string& to) {
  return Move(from, to, false);
}

absl::Status RecordingFileSystem::Replace(const std::string& from, const std::string& to) {
  return Move(from, to, true);
}

absl::Status RecordingFileSystem::Remove(const std::string& path, bool folder) {
  FT_ASSIGN_OR_RETURN(const int node, Existing(path, folder));
  FT_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (folder && !nodes_[node].entries.empty()) {
    return absl::UnavailableError(absl::StrCat(path, ": is not empty"));
  }
  Do({.what = What::kUnlink, .node = place.folder, .name = place.name});
  return absl::OkStatus();
}

absl::Status RecordingFileSystem::RemoveFile(const std::string& path) {
  return Remove(path, false);
}

absl::Status RecordingFileSystem::RemoveFolder(const std::string& path) {
  return Remove(path, true);
}

absl::StatusOr<std::vector<FolderEntry>> RecordingFileSystem::List(const std::string& path) {
  FT_ASSIGN_OR_RETURN(const int node, Existing(path, true));
  std::vector<FolderEntry> entries;
  for (const auto& [name, inner] : nodes_[node].entries) {
    entries.push_back({name, nodes_[inner].folder ? EntryKind::kFolder : EntryKind::kFile});
  }
  return entries;
}

absl::StatusOr<std::optional<EntryKind>> RecordingFileSystem::Kind(const std::string& path) {
  FT_ASSIGN_OR_RETURN(const Place place, Find(path));
  if (place.node < 0) return std::nullopt;
  return nodes_[place.node].folder ? EntryKind::kFolder : EntryKind::kFile;
}

absl::StatusOr<int64_t> RecordingFileSystem::Size(const std::string& path) {
  FT_ASSIGN_OR_RETURN(const int node, Existing(path, false));
  return static_cast<int64_t>(nodes_[node].data.size());
}

absl::Status RecordingFileSystem::ReadAt(const std::string& path, int64_t offset, void* destination,
                                         int64_t size_bytes) {
  FT_ASSIGN_OR_RETURN(const int node, Existing(path, false));
  const std::string& data = nodes_[node].data;
  if (offset + size_bytes > static_cast<int64_t>(data.size())) {
    return absl::DataLossError(absl::StrCat(path, ": ends too early"));
  }
  std::memcpy(destination, data.data() + offset, size_bytes);
  return absl::OkStatus();
}

}  // namespace fttrain
