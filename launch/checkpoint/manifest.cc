#include "launch/checkpoint/manifest.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "launch/checkpoint/manifest_checks.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;

constexpr const char* kOtherFormat = "fttrain/checkpoint-format";
constexpr int64_t kMost = int64_t{1} << 62;  // JsonNode::Int takes more than 2^63 - 1 for that
constexpr size_t kMaxRank = 8, kMaxTextBytes = 4096, kMaxNoteBytes = 1 << 20;

absl::Status CheckVersion(const JsonNode& root, const std::string& path) {
  FT_ASSIGN_OR_RETURN(const int64_t version, root["format_version"].Int(1, kMost));
  if (version == kManifestVersion) return absl::OkStatus();
  absl::Status other = absl::DataLossError(absl::StrCat(
      path, ": format_version: the checkpoint has format ", version, ", this program reads format ",
      kManifestVersion, "; use the version of fttrain that wrote it, or another checkpoint"));
  other.SetPayload(kOtherFormat, absl::Cord("1"));
  return other;
}

absl::StatusOr<std::string> Text(const JsonNode& node, size_t most = kMaxTextBytes) {
  FT_ASSIGN_OR_RETURN(std::string text, node.String());
  if (text.size() <= most) return text;
  return node.Error(absl::StrCat(text.size(), " bytes of text, more than ", most));
}

absl::StatusOr<std::map<std::string, std::string>> Texts(const JsonNode& node) {
  FT_RETURN_IF_ERROR(node.IsObject());
  std::map<std::string, std::string> texts;
  for (const auto& [key, value] : node.value().items()) {
    if (key.size() > kMaxTextBytes) return node.Error("a key is too long");
    const JsonNode inner(&value, absl::StrCat(node.path(), ".", Printable(key)));
    FT_ASSIGN_OR_RETURN(texts[key], Text(inner, kMaxNoteBytes));
  }
  return texts;
}

absl::StatusOr<ManifestFile> ReadFileEntry(const JsonNode& node) {
  FT_RETURN_IF_ERROR(node.OnlyKeys({"name", "bytes", "sha256", "host"}));
  ManifestFile file;
  FT_ASSIGN_OR_RETURN(file.name, Text(node["name"]));
  FT_ASSIGN_OR_RETURN(file.bytes, node["bytes"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(file.sha256, Text(node["sha256"]));
  FT_ASSIGN_OR_RETURN(file.host, Text(node["host"]));
  return file;
}

absl::StatusOr<ManifestTensor> ReadTensorEntry(const JsonNode& node) {
  FT_RETURN_IF_ERROR(
      node.OnlyKeys({"name", "kind", "dtype", "global_shape", "dim", "offset", "extent", "begin",
                     "end", "numel", "file", "data_begin", "data_end"}));
  ManifestTensor tensor;
  FT_ASSIGN_OR_RETURN(tensor.name, Text(node["name"]));
  FT_ASSIGN_OR_RETURN(tensor.kind, Text(node["kind"]));
  FT_ASSIGN_OR_RETURN(tensor.dtype, Text(node["dtype"]));
  const JsonNode shape = node["global_shape"];
  FT_RETURN_IF_ERROR(shape.IsArray());
  if (shape.size() > kMaxRank) return shape.Error(absl::StrCat("more than ", kMaxRank, " numbers"));
  for (size_t i = 0; i < shape.size(); ++i) {
    FT_ASSIGN_OR_RETURN(const int64_t extent, shape[i].Int(0, kMost));
    tensor.global_shape.push_back(extent);
  }
  FT_ASSIGN_OR_RETURN(const int64_t dim, node["dim"].Int(-1, kMaxRank));
  tensor.dim = static_cast<int>(dim);
  FT_ASSIGN_OR_RETURN(tensor.offset, node["offset"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(tensor.extent, node["extent"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(tensor.begin, node["begin"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(tensor.end, node["end"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(tensor.numel, node["numel"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(tensor.file, Text(node["file"]));
  FT_ASSIGN_OR_RETURN(tensor.data_begin, node["data_begin"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(tensor.data_end, node["data_end"].Int(0, kMost));
  return tensor;
}

template <typename Entry>
absl::StatusOr<std::vector<Entry>> Entries(const JsonNode& list,
                                           absl::StatusOr<Entry> (*read)(const JsonNode&)) {
  FT_RETURN_IF_ERROR(list.IsArray());
  std::vector<Entry> entries;
  for (size_t i = 0; i < list.size(); ++i) {
    FT_ASSIGN_OR_RETURN(Entry entry, read(list[i]));
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

absl::StatusOr<Manifest> ParseManifest(std::string_view text, const std::string& path) {
  if (static_cast<int64_t>(text.size()) > kMaxManifestBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", text.size(), " bytes, more than ", kMaxManifestBytes));
  }
  FT_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(text, path));
  const JsonNode root(&json, path);
  FT_RETURN_IF_ERROR(CheckVersion(root, path));  // before all: another format has other keys
  FT_RETURN_IF_ERROR(root.OnlyKeys(
      {"format_version", "step", "files", "tensors", "digests", "versions", "layout", "notes"}));
  Manifest manifest;
  FT_ASSIGN_OR_RETURN(manifest.step, root["step"].Int(0, kMost));
  FT_ASSIGN_OR_RETURN(manifest.files, Entries<ManifestFile>(root["files"], ReadFileEntry));
  FT_ASSIGN_OR_RETURN(manifest.tensors, Entries<ManifestTensor>(root["tensors"], ReadTensorEntry));
  FT_ASSIGN_OR_RETURN(manifest.digests, Texts(root["digests"]));
  FT_ASSIGN_OR_RETURN(manifest.versions, Texts(root["versions"]));
  FT_ASSIGN_OR_RETURN(manifest.layout, Text(root["layout"], kMaxNoteBytes));
  FT_ASSIGN_OR_RETURN(manifest.notes, Texts(root["notes"]));
  FT_RETURN_IF_ERROR(CheckManifest(manifest, path));
  return manifest;
}

absl::StatusOr<std::string> ManifestText(const Manifest& manifest) {
  Json files = Json::array(), tensors = Json::array();
  for (const ManifestFile& f : manifest.files) {
    files.push_back({{"name", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}, {"host", f.host}});
  }
  for (const ManifestTensor& t : manifest.tensors) {
    tensors.push_back({{"name", t.name},
                       {"kind", t.kind},
                       {"dtype", t.dtype},
                       {"global_shape", t.global_shape},
                       {"dim", t.dim},
                       {"offset", t.offset},
                       {"extent", t.extent},
                       {"begin", t.begin},
                       {"end", t.end},
                       {"numel", t.numel},
                       {"file", t.file},
                       {"data_begin", t.data_begin},
                       {"data_end", t.data_end}});
  }
  const Json json = {{"format_version", manifest.format_version},
                     {"step", manifest.step},
                     {"files", std::move(files)},
                     {"tensors", std::move(tensors)},
                     {"digests", manifest.digests},
                     {"versions", manifest.versions},
                     {"layout", manifest.layout},
                     {"notes", manifest.notes}};
  std::string text;
  try {
    text = json.dump() + "\n";
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("manifest: names and notes must be UTF-8: ", Printable(error.what())));
  }
  // What nobody could read back is not written.
  FT_RETURN_IF_ERROR(ParseManifest(text, "manifest").status());
  return text;
}

bool IsOtherFormat(const absl::Status& status) {
  return status.GetPayload(kOtherFormat).has_value();
}

}  // namespace fttrain
