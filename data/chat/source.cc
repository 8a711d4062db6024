#include "data/chat/source.h"

#include "absl/strings/str_cat.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

}  // namespace

absl::StatusOr<std::string> FolderChatTemplate(const std::string& folder) {
  absl::StatusOr<std::string> jinja = ReadFile(folder + "/chat_template.jinja", kMaxFileBytes);
  if (!absl::IsNotFound(jinja.status())) return jinja;
  const std::string path = folder + "/tokenizer_config.json";
  const absl::StatusOr<std::string> config = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(config.status())) {
    return absl::NotFoundError(
        absl::StrCat("there is neither chat_template.jinja nor tokenizer_config.json in ", folder));
  }
  FT_RETURN_IF_ERROR(config.status());
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*config, path));
  const JsonNode node = JsonNode(&parsed, path)["chat_template"];
  if (!node.present()) return absl::NotFoundError(path + " has no chat_template");
  if (!node.value().is_array()) return node.String();
  for (size_t i = 0; i < node.size(); ++i) {
    FT_ASSIGN_OR_RETURN(const std::string name, node[i]["name"].String());
    if (name == "default") return node[i]["template"].String();
  }
  return absl::NotFoundError(path + " has no template called default");
}

absl::StatusOr<std::map<std::string, std::string>> SpecialTokens(const std::string& folder) {
  std::map<std::string, std::string> tokens;
  for (const char* file : {"/special_tokens_map.json", "/tokenizer_config.json"}) {
    const absl::StatusOr<std::string> text = ReadFile(folder + file, kMaxFileBytes);
    if (absl::IsNotFound(text.status())) continue;
    FT_RETURN_IF_ERROR(text.status());
    FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*text, folder + file));
    for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token",
                             "cls_token", "mask_token"}) {
      const auto found = parsed.find(name);
      if (found == parsed.end() || found->is_null()) continue;
      const nlohmann::json& value =
          found->is_object() && found->contains("content") ? (*found)["content"] : *found;
      if (value.is_string()) tokens[name] = value.get<std::string>();
    }
  }
  return tokens;
}

}  // namespace fttrain
