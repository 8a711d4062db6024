#include "tests/launch/checkpoint/saves.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr const char* kKinds[] = {"master", "exp_avg"};

// A tensor [8, 6] in rows over two ranks: 4 rows each, in two parts that ZeRO could have made.
struct Part {
  ManifestTensor about;
  std::vector<float> values;
};

float ValueOf(const Attempt& attempt, const ManifestTensor& tensor, int64_t i) {
  uint32_t hash = 2166136261u;
  const std::string key = absl::StrCat(attempt.step, "/", attempt.nonce, "/", tensor.name, "/",
                                       tensor.kind, "/", tensor.offset, "/", tensor.begin + i);
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return static_cast<float>(hash >> 8);
}

std::vector<Part> PartsOf(const Attempt& attempt, int rank) {
  std::vector<Part> parts;
  for (const char* kind : kKinds) {
    for (const int64_t begin : {0, 10}) {
      Part part;
      part.about = {.name = "layers.0.q_proj.lora_A.weight",
                    .kind = kind,
                    .dtype = "F32",
                    .global_shape = {8, 6},
                    .dim = 0,
                    .offset = 4 * rank,
                    .extent = 4,
                    .begin = begin,
                    .end = begin == 0 ? 10 : 24,
                    .file = "",
                    .data_begin = 0,
                    .data_end = 0};
      part.about.numel = part.about.end - part.about.begin;
      for (int64_t i = 0; i < part.about.numel; ++i) {
        part.values.push_back(ValueOf(attempt, part.about, i));
      }
      parts.push_back(std::move(part));
    }
  }
  return parts;
}

std::string ExtraOf(const Attempt& attempt) {
  return absl::StrCat("{\"r\": 8, \"attempt\": \"", attempt.nonce, "\"}\n");
}

absl::Status WriteRank(FileSystem& files, const StagedStep& staging, const Attempt& attempt,
                       int rank, bool read_back, Manifest* manifest) {
  const std::vector<Part> parts = PartsOf(attempt, rank);
  std::vector<ShardTensor> tensors;
  for (const Part& part : parts) tensors.push_back({part.about, part.values.data()});
  FT_ASSIGN_OR_RETURN(const WrittenShard shard,
                      WriteShard(files, staging.path, rank, tensors,
                                 {.host = absl::StrCat("host-", rank), .read_back = read_back}));
  manifest->files.push_back(shard.file);
  manifest->tensors.insert(manifest->tensors.end(), shard.tensors.begin(), shard.tensors.end());
  return absl::OkStatus();
}

absl::Status WriteAndCommit(FileSystem& files, CheckpointFolder& folder, const StagedStep& staging,
                            const Attempt& attempt, bool read_back) {
  Manifest manifest;
  manifest.step = attempt.step;
  manifest.layout = "tensor 2";
  manifest.notes["attempt"] = attempt.nonce;
  manifest.digests["config"] = "00ff";
  manifest.versions["fttrain"] = "0.1.0";
  for (int rank = 0; rank < kRanks; ++rank) {
    FT_RETURN_IF_ERROR(WriteRank(files, staging, attempt, rank, read_back, &manifest));
  }
  FT_ASSIGN_OR_RETURN(const ManifestFile extra,
                      WriteExtraFile(files, staging.path, "adapter_config.json", ExtraOf(attempt),
                                     {.host = "host-0", .read_back = read_back}));
  manifest.files.push_back(extra);
  return folder.Commit(staging, manifest);
}

}  // namespace

absl::Status Save(FileSystem& files, const std::string& output_folder, const Attempt& attempt,
                  bool read_back) {
  CheckpointFolder folder(files, output_folder);
  const absl::StatusOr<StagedStep> staging = folder.MakeStaging(attempt.step, attempt.nonce);
  FT_RETURN_IF_ERROR(staging.status());
  const absl::Status saved = WriteAndCommit(files, folder, *staging, attempt, read_back);
  if (!saved.ok()) folder.Abandon(*staging).IgnoreError();
  return saved;
}

absl::StatusOr<StagedStep> HalfSave(FileSystem& files, const std::string& output_folder,
                                    const Attempt& attempt) {
  CheckpointFolder folder(files, output_folder);
  FT_ASSIGN_OR_RETURN(const StagedStep staging, folder.MakeStaging(attempt.step, attempt.nonce));
  Manifest manifest;
  FT_RETURN_IF_ERROR(WriteRank(files, staging, attempt, 0, true, &manifest));
  return staging;
}

std::string Difference(FileSystem& files, const Committed& checkpoint) {
  const Manifest& manifest = checkpoint.manifest;
  for (const ManifestFile& file : manifest.files) {
    const absl::Status verified = VerifyFile(files, checkpoint, file);
    if (!verified.ok()) return std::string(verified.message());
  }
  const auto nonce = manifest.notes.find("attempt");
  if (nonce == manifest.notes.end()) return "no attempt";
  const Attempt attempt{checkpoint.step, nonce->second};
  const size_t parts = kRanks * PartsOf(attempt, 0).size();
  if (manifest.files.size() != kRanks + 1 || manifest.tensors.size() != parts)
    return "not all of it";
  for (const ManifestTensor& tensor : manifest.tensors) {
    std::vector<float> values(static_cast<size_t>(tensor.numel));
    const absl::Status read = ReadRange(files, checkpoint, tensor.file, tensor.data_begin,
                                        values.data(), tensor.data_end - tensor.data_begin);
    if (!read.ok()) return std::string(read.message());
    for (int64_t i = 0; i < tensor.numel; ++i) {
      if (values[i] != ValueOf(attempt, tensor, i)) return absl::StrCat("values of ", tensor.name);
    }
  }
  const std::string want = ExtraOf(attempt);
  std::string extra(want.size(), '\0');
  const absl::Status read = ReadRange(files, checkpoint, "adapter_config.json", 0, extra.data(),
                                      static_cast<int64_t>(extra.size()));
  if (!read.ok()) return std::string(read.message());
  return extra == want ? "" : "the extra file";
}

std::vector<int64_t> Steps(const Listing& listing) {
  std::vector<int64_t> steps;
  for (const Committed& each : listing.committed) steps.push_back(each.step);
  return steps;
}

}  // namespace fttrain
