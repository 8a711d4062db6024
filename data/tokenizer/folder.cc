// A Tokenizer from a folder's files.
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_impl.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

// added_tokens.json, {token: id}, is an older form of added_tokens_decoder and counts without it.
absl::Status AddAddedTokens(const std::string& path, nlohmann::json* config) {
  if (config->contains("added_tokens_decoder")) return absl::OkStatus();
  const auto text = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  FT_RETURN_IF_ERROR(text.status());
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*text, path));
  const JsonNode root(&parsed, path);
  FT_RETURN_IF_ERROR(root.IsObject());
  for (const auto& [token, id] : parsed.items()) {
    FT_ASSIGN_OR_RETURN(const int64_t value, root[token.c_str()].Int(0, kMaxTokens - 1));
    (*config)["added_tokens_decoder"][std::to_string(value)] = {
        {"content", token}, {"special", true}, {"normalized", false}};
  }
  return absl::OkStatus();
}

// Beside a tokenizer.json, which holds its added tokens itself, the file is left over: a token of
// its own may have no row in the model.
void NoteLeftOver(const std::string& path, Tokenizer::Impl* impl) {
  const auto text = ReadFile(path, kMaxFileBytes);
  if (!text.ok()) return;
  const auto parsed = ParseJson(*text, path);
  if (!parsed.ok() || !parsed->is_object()) return;
  for (const auto& [token, id] : parsed->items()) {
    if (impl->Id(token).has_value()) continue;
    impl->notes.push_back(absl::StrCat("added_tokens.json has '", Printable(token),
                                       "', which tokenizer.json lacks; it is not used"));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  nlohmann::json config = nlohmann::json::object();
  for (const char* name : {"/special_tokens_map.json", "/tokenizer_config.json"}) {
    const auto more = ReadFile(folder + name, kMaxFileBytes);
    if (absl::IsNotFound(more.status())) continue;
    FT_RETURN_IF_ERROR(more.status());
    FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*more, folder + name));
    FT_RETURN_IF_ERROR(JsonNode(&parsed, folder + name).IsObject());
    for (const char* key :
         {"bos_token", "eos_token", "added_tokens_decoder", "add_bos_token", "add_eos_token",
          "legacy", "split_special_tokens", "add_prefix_space", "unk_token", "pad_token",
          "additional_special_tokens", "extra_special_tokens"}) {
      if (parsed.contains(key)) config[key] = parsed[key];
    }
  }
  const std::string added = folder + "/added_tokens.json";
  using Read = absl::StatusOr<std::unique_ptr<Tokenizer>> (*)(std::string_view, std::string_view,
                                                              const std::string&);
  for (const auto& [file, read] : {std::pair<const char*, Read>{"/tokenizer.json", &FromJson},
                                   {"/tekken.json", &FromTekken},
                                   {"/tokenizer.model", &FromSentencePiece}}) {
    const auto text = ReadFile(folder + file, kMaxFileBytes);
    if (absl::IsNotFound(text.status())) continue;
    FT_RETURN_IF_ERROR(text.status());
    if (read == &FromJson) {
      FT_ASSIGN_OR_RETURN(auto tokenizer, FromJson(*text, config.dump(), folder + file));
      if (!config.contains("added_tokens_decoder")) NoteLeftOver(added, tokenizer->impl_.get());
      return tokenizer;
    }
    FT_RETURN_IF_ERROR(AddAddedTokens(added, &config));
    return read(*text, config.dump(), folder + file);
  }
  return absl::NotFoundError(absl::StrCat(
      folder, ": there is none of tokenizer.json, tekken.json, tokenizer.model (sentencepiece)"));
}

}  // namespace fttrain
