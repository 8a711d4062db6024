// A model folder: the index and its shards, or one file. Parts: the index (empty: none), then the
// files a, b (with an index) or model, each the JSON of its header, whose length is put before it,
// and data behind the last brace.
#include "runtime/files/safetensors.h"
#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {
namespace {

constexpr const char* kShards[] = {"a.safetensors", "b.safetensors"};

std::string FileOf(const std::string& part) {
  const uint64_t length = part.find_last_of('}') + 1;
  return std::string(reinterpret_cast<const char*>(&length), 8) + part;
}

// All that it promises is there to be read, in this folder's files.
void Check(const SafetensorsFolder& folder) {
  std::string bytes;
  for (const std::string& name : folder.Names()) {
    const SafetensorsEntry* entry = folder.Find(name);
    FT_CHECK(entry != nullptr && folder.Contains(name), name);
    const std::string& path = folder.PathOf(name);
    FT_CHECK(std::filesystem::path(path).parent_path() == folder.path(), path);
    bytes.resize(static_cast<size_t>(entry->size_bytes));
    const absl::Status read = folder.ReadBytes(name, 0, entry->size_bytes, bytes.data());
    FT_CHECK(read.ok(), read.ToString());
    char beyond[2];
    FT_CHECK(!folder.ReadBytes(name, entry->size_bytes, 1, beyond).ok(), name);
    FT_CHECK(!folder.ReadBytes(name, -1, 1, beyond).ok(), name);
    FT_CHECK(!folder.ReadBytes(name, INT64_MAX, 2, beyond).ok(), name);
  }
  FT_CHECK(folder.Find("no such tensor, to be sure") == nullptr, "");
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::string next(1, kNextPart);
  const std::string w = R"({"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  const std::string v = R"({"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const std::string index = R"({"metadata":{"total_size":6},"weight_map":{)";
  return {
      next + w + "12",
      index + R"("w":"a.safetensors","v":"b.safetensors"}})" + next + w + "12" + next + v + "1234",
      index + R"("w":"a.safetensors"}})" + next + w + "12"};
}

std::vector<std::string> Words() {
  return {"\"weight_map\"",
          "\"a.safetensors\"",
          "\"b.safetensors\"",
          "\"../a.safetensors\"",
          "\"/etc/passwd\"",
          "\"./a.safetensors\"",
          "\"w\"",
          "\"v\"",
          "\\u0000",
          "\"dtype\"",
          "\"shape\"",
          "\"data_offsets\"",
          "\"U8\"",
          std::string(1, kNextPart),
          "{}",
          "[0,0]"};
}

}  // namespace fttrain::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fttrain;
  using namespace fttrain::fuzz;
  static const Scratch scratch;
  const std::vector<std::string> parts = Parts(data, size);
  if (parts.size() > (parts[0].empty() ? 2 : 3)) return 0;
  std::error_code ignored;
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", kShards[0], kShards[1]}) {
    std::filesystem::remove(scratch.path() + "/" + name, ignored);
  }
  if (!parts[0].empty()) scratch.Write("model.safetensors.index.json", parts[0]);
  for (size_t i = 1; i < parts.size(); ++i) {
    scratch.Write(parts[0].empty() ? "model.safetensors" : kShards[i - 1], FileOf(parts[i]));
  }
  const auto folder = SafetensorsFolder::Open(scratch.path());
  if (!folder.ok()) return Refused(folder.status());
  ++accepted;
  Check(**folder);
  return 0;
}
