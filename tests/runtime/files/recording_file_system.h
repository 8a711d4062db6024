// A file system in memory that records what was done to it, and what its disk may hold if the power
// goes. The model is as bad as POSIX allows:
//   - what was written to a file after its last fsync is there, lost (zeros, or the file is
//     shorter), torn, or garbage, each write by itself;
//   - an entry that was made or removed in a folder after that folder's last fsync is there or not,
//     each by itself, in whatever order; a file's fsync does nothing for its entry; and a rename
//     may be done to both names, to one of them, or to none.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/files/file_system.h"

namespace fttrain {

class RecordingFileSystem : public FileSystem {
 public:
  RecordingFileSystem();  // a root folder alone

  // The disk after a power cut that came when the first `operations` had been done.
  std::unique_ptr<RecordingFileSystem> AfterPowerCut(size_t operations,
                                                     std::mt19937_64& random) const;
  size_t operations() const { return log_.size(); }
  // From now on fsync of files, or of folders, does nothing: the mistake that a replay must see.
  bool forget_file_syncs = false, forget_folder_syncs = false;

  absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& path,
                                                  int64_t expected_bytes) override;
  absl::Status MakeFolder(const std::string& path) override;
  absl::Status SyncFolder(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Replace(const std::string& from, const std::string& to) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveFolder(const std::string& path) override;
  absl::StatusOr<std::vector<FolderEntry>> List(const std::string& path) override;
  absl::StatusOr<std::optional<EntryKind>> Kind(const std::string& path) override;
  absl::StatusOr<int64_t> Size(const std::string& path) override;
  absl::Status ReadAt(const std::string& path, int64_t offset, void* destination,
                      int64_t size_bytes) override;

 private:
  struct Node {
    bool folder = false;
    std::string data;                    // of a file
    std::map<std::string, int> entries;  // of a folder: name -> node
  };
  enum class What { kWrite, kLink, kUnlink, kSync };
  struct Operation {
    What what;
    int node;               // written to or synced; of entries, the folder
    std::string name = {};  // of an entry
    int target = -1;        // of an entry
    std::string data = {};  // written at the file's end
    int rename = -1;        // which rename this is half of
  };
  class File;
  struct Place {
    int folder;
    std::string name;
    int node;  // -1: nothing of that name
  };

  absl::StatusOr<Place> Find(const std::string& path) const;  // its folder exists
  absl::StatusOr<int> Existing(const std::string& path, bool folder) const;
  absl::StatusOr<int> Add(const std::string& path, bool folder);
  absl::Status Move(const std::string& from, const std::string& to, bool replace);
  absl::Status Remove(const std::string& path, bool folder);
  void Do(Operation operation);
  static void Apply(const Operation& operation, std::vector<Node>* nodes);
  static void TearWrite(const Operation& operation, std::mt19937_64& random, std::string* data);

  std::vector<Node> first_, nodes_;  // as at the beginning (of what was there), and now
  std::vector<Operation> log_;
  int renames_ = 0;
};

}  // namespace fttrain
