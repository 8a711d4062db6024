// A Tokenizer from a folder's files.
#include "absl/algorithm/container.h"
#include "data/tokenizer/config_tokens.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_impl.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

absl::StatusOr<nlohmann::json> ReadObject(const std::string& path) {
  const auto text = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return nlohmann::json::object();
  FT_RETURN_IF_ERROR(text.status());
  FT_ASSIGN_OR_RETURN(nlohmann::json parsed, ParseJson(*text, path));
  FT_RETURN_IF_ERROR(JsonNode(&parsed, path).IsObject());
  return parsed;
}

std::string ContentOf(const nlohmann::json& token) {
  const nlohmann::json* content = &token;
  if (token.is_object() && token.contains("content")) content = &token["content"];
  return content->is_string() ? content->get<std::string>() : "";
}

// Which of tokenizer_config.json and special_tokens_map.json counts, where both name a token.
void NoteOtherMap(const nlohmann::json& config, const nlohmann::json& map, bool map_counts,
                  std::vector<std::string>* notes) {
  for (const char* key : {"bos_token", "eos_token"}) {
    if (!config.contains(key) || !map.contains(key)) continue;
    const std::string here = ContentOf(config[key]), there = ContentOf(map[key]);
    if (here == there) continue;
    notes->push_back(absl::StrCat(key, " is '", Printable(here), "' in tokenizer_config.json and '",
                                  Printable(there), "' in special_tokens_map.json: the ",
                                  map_counts ? "latter" : "former",
                                  " counts, as in transformers 5"));
  }
}

// special_tokens_map.json counts before tokenizer_config.json, as in transformers 5 where the
// latter has no added_tokens_decoder (then it is of an older form). Of lists only one counts.
void TakeMap(const nlohmann::json& map, nlohmann::json* config) {
  constexpr const char* kLists[] = {"extra_special_tokens", "additional_special_tokens"};
  const char* own = nullptr;  // the list that counts of tokenizer_config.json's
  for (const char* key : {kLists[1], kLists[0]}) {
    const auto list = config->find(key);
    if (list != config->end() && list->is_array() && !list->empty()) own = key;
  }
  for (const auto& [key, value] : map.items()) {
    const bool is_list = absl::c_linear_search(kLists, key) && value.is_array();
    if (own == nullptr || !is_list) {
      (*config)[key] = value;
      continue;
    }
    for (const nlohmann::json& token : value) {
      const bool known = key != kLists[0] || absl::c_linear_search((*config)[own], token);
      if (!known) (*config)[own].push_back(token);
    }
  }
}

// Beside added_tokens_decoder the older file is left over.
void NoteLeftOver(const nlohmann::json& file, Tokenizer::Impl* impl) {
  for (const auto& [token, id] : file.items()) {
    if (impl->Id(token).has_value()) continue;
    impl->notes.push_back(absl::StrCat("added_tokens.json has '", Printable(token),
                                       "', which the tokenizer lacks; it is not used"));
    return;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& folder) {
  FT_ASSIGN_OR_RETURN(nlohmann::json config, ReadObject(folder + "/tokenizer_config.json"));
  FT_ASSIGN_OR_RETURN(const nlohmann::json map, ReadObject(folder + "/special_tokens_map.json"));
  FT_ASSIGN_OR_RETURN(const nlohmann::json added, ReadObject(folder + "/added_tokens.json"));
  const bool older = !config.contains("added_tokens_decoder");
  std::vector<std::string> notes;
  NoteOtherMap(config, map, older, &notes);
  if (older) TakeMap(map, &config);
  if (older && !added.empty()) config[kAddedTokensFile] = added;
  using Read = absl::StatusOr<std::unique_ptr<Tokenizer>> (*)(std::string_view, std::string_view,
                                                              const std::string&);
  for (const auto& [file, read] : {std::pair<const char*, Read>{"/tokenizer.json", &FromJson},
                                   {"/tekken.json", &FromTekken},
                                   {"/tokenizer.model", &FromSentencePiece}}) {
    const auto text = ReadFile(folder + file, kMaxFileBytes);
    if (absl::IsNotFound(text.status())) continue;
    FT_RETURN_IF_ERROR(text.status());
    FT_ASSIGN_OR_RETURN(auto tokenizer, read(*text, config.dump(), folder + file));
    if (!older) NoteLeftOver(added, tokenizer->impl_.get());
    std::vector<std::string>& all = tokenizer->impl_->notes;
    all.insert(all.begin(), notes.begin(), notes.end());
    return tokenizer;
  }
  return absl::NotFoundError(absl::StrCat(
      folder, ": there is none of tokenizer.json, tekken.json, tokenizer.model (sentencepiece)"));
}

}  // namespace fttrain
