// A checkpoint's manifest.json.
#include "launch/checkpoint/manifest.h"

#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {
namespace {

Manifest Example() {
  Manifest manifest;
  manifest.step = 7;
  manifest.files = {{"shard-r00000.safetensors", 200, std::string(64, 'a'), "host"},
                    {"config.yaml", 10, std::string(64, '0'), ""}};
  manifest.tensors = {
      {"w", "master", "F32", {4, 2}, 0, 2, 2, 0, 4, 4, "shard-r00000.safetensors", 100, 116},
      {"w", "exp_avg", "F32", {4, 2}, 0, 2, 2, 0, 4, 4, "shard-r00000.safetensors", 116, 132},
      {"w",
       "exp_avg_absmax",
       "F32",
       {4, 2},
       -1,
       0,
       0,
       0,
       8,
       1,
       "shard-r00000.safetensors",
       132,
       136}};
  manifest.digests = {{"model", "1f"}};
  manifest.versions = {{"torch", "2"}};
  manifest.layout = "2 ranks";
  manifest.notes = {{"loss_guard", ""}};
  return manifest;
}

void CheckRanges(const Manifest& manifest) {
  std::map<std::string, int64_t> files;
  for (const ManifestFile& file : manifest.files) {
    FT_CHECK(file.name.find_first_of(std::string_view("/\0", 2)) == std::string::npos, file.name);
    FT_CHECK(!file.name.empty() && file.name[0] != '.' && file.bytes >= 0, file.name);
    FT_CHECK(files.emplace(file.name, file.bytes).second, file.name);
  }
  for (const ManifestTensor& tensor : manifest.tensors) {
    FT_CHECK(files.count(tensor.file) == 1, tensor.file);
    FT_CHECK(0 <= tensor.data_begin && tensor.data_begin <= tensor.data_end, tensor.name);
    FT_CHECK(tensor.data_end <= files[tensor.file], tensor.name);
    FT_CHECK(tensor.data_end - tensor.data_begin == tensor.numel * ManifestDtypeBytes(tensor.dtype),
             tensor.name);
    FT_CHECK(0 <= tensor.begin && tensor.begin <= tensor.end, tensor.name);
    FT_CHECK(tensor.numel <= tensor.end - tensor.begin, tensor.name);
    int64_t slice = 1;
    for (int64_t dim = 0; dim < static_cast<int64_t>(tensor.global_shape.size()); ++dim) {
      const int64_t size = tensor.global_shape[static_cast<size_t>(dim)];
      FT_CHECK(size >= 0, tensor.name);
      slice *= dim == tensor.dim ? tensor.extent : size;
      FT_CHECK(dim != tensor.dim || (0 <= tensor.offset && tensor.extent >= 0 &&
                                     tensor.extent <= size - tensor.offset),
               tensor.name);
    }
    FT_CHECK(tensor.end <= slice, tensor.name);
  }
}

}  // namespace

std::vector<std::string> Seeds() {
  Manifest empty;
  return {*ManifestText(Example()), *ManifestText(empty)};
}

std::vector<std::string> Words() {
  return {"\"dim\": -1",
          "\"F64\"",
          "\"U8\"",
          "\"exp_avg\"",
          "\"master\"",
          "\"../x\"",
          "\".tmp\"",
          "\"COMMIT\"",
          "\"manifest.json\"",
          "\"config.yaml\"",
          "\"w\"",
          "[]",
          "{}",
          "null",
          "\\u0000"};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto manifest = ParseManifest(text, "manifest.json");
  if (!manifest.ok()) return Refused(manifest.status());
  ++accepted;
  CheckRanges(*manifest);
  // What is read can be written, and is the same.
  const auto written = ManifestText(*manifest);
  FT_CHECK(written.ok(), written.status().ToString());
  const auto again = ParseManifest(*written, "again");
  FT_CHECK(again.ok(), again.status().ToString());
  FT_CHECK(*ManifestText(*again) == *written, *written);
  return 0;
}
