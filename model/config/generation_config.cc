#include "model/config/generation_config.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

using Ordered = nlohmann::ordered_json;  // keeps the order of keys

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr char kEndKey[] = "eos_token_id";

// One of a folder's files of keys.
struct Keys {
  std::string text;  // empty: there is no such file
  Ordered json = Ordered::object();
  std::vector<int64_t> end_ids;
};

absl::StatusOr<Keys> Read(const std::string& folder, const char* name) {
  const std::string path = absl::StrCat(folder, "/", name);
  absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  Keys keys;
  if (absl::IsNotFound(text.status())) return keys;
  if (!text.ok()) return text.status();
  keys.text = *std::move(text);
  FT_ASSIGN_OR_RETURN(const nlohmann::json checked, ParseJsonObject(keys.text, path));
  JsonKeys reader(checked, path);
  keys.end_ids = reader.Ids(kEndKey);
  FT_RETURN_IF_ERROR(reader.status());
  keys.json = Ordered::parse(keys.text);
  return keys;
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> GenerationEndIds(const std::string& folder) {
  FT_ASSIGN_OR_RETURN(Keys keys, Read(folder, kGenerationConfigFile));
  return std::move(keys.end_ids);
}

absl::StatusOr<std::string> GenerationConfigWith(const std::string& base_folder,
                                                 const std::vector<int64_t>& ids,
                                                 std::optional<int64_t> tokenizer_eos) {
  FT_ASSIGN_OR_RETURN(Keys own, Read(base_folder, kGenerationConfigFile));
  std::vector<int64_t> ends = own.end_ids;
  const auto names = [&](int64_t id) { return absl::c_linear_search(ends, id); };
  if (!own.text.empty() && absl::c_all_of(ids, names)) return std::move(own.text);
  FT_ASSIGN_OR_RETURN(const Keys model, Read(base_folder, "config.json"));
  if (own.text.empty()) {
    for (const char* key : {"bos_token_id", kEndKey, "pad_token_id"}) {
      const auto found = model.json.find(key);
      if (found != model.json.end() && !found->is_null()) own.json[key] = *found;
    }
  }
  if (ends.empty()) ends = model.end_ids;
  if (ends.empty() && tokenizer_eos) ends.push_back(*tokenizer_eos);
  for (const int64_t id : ids) {
    if (!names(id)) ends.push_back(id);
  }
  own.json[kEndKey] = ends.size() == 1 ? Ordered(ends[0]) : Ordered(ends);
  return own.json.dump(2) + "\n";
}

}  // namespace fttrain
