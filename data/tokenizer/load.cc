// A Tokenizer from the texts of its files.
#include <set>

#include "data/text/unicode.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/sentencepiece_file.h"
#include "data/tokenizer/tekken_file.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_impl.h"
#include "data/tokenizer/unigram.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

using Impl = Tokenizer::Impl;

// Keys of tokenizer_config.json by which transformers would give a text other ids.
absl::Status RefuseUnknownBehaviour(const JsonNode& config, Impl* impl) {
  FT_RETURN_IF_ERROR(config.MustBeOff("split_special_tokens"));
  const auto note = [&](const char* key, const JsonNode& token) {
    const JsonNode content = token.value().is_object() ? token["content"] : token;
    const auto text = content.String();
    if (!text.ok() || impl->Id(*text).has_value()) return;
    impl->notes.push_back(absl::StrCat(
        key, " has '", Printable(*text),
        "', which is not in the vocabulary; transformers adds it, here it is a text like any"));
  };
  for (const char* key : {"unk_token", "pad_token"}) {
    if (config[key].present()) note(key, config[key]);
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const JsonNode list = config[key];
    if (!list.present()) continue;
    for (const auto& [name, token] : list.value().items()) {
      note(key, JsonNode(&token, absl::StrCat(list.path(), "[", Printable(name), "]")));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSpecialTokens(const JsonNode& config, Impl* impl) {
  for (const auto& [key, token] :
       {std::pair{"bos_token", &impl->bos}, std::pair{"eos_token", &impl->eos}}) {
    const JsonNode node = config[key];
    if (!node.present()) continue;
    const JsonNode content = node.value().is_object() ? node["content"] : node;
    FT_ASSIGN_OR_RETURN(*token, content.String());
    if (!impl->Id(*token).has_value()) {
      return node.Error(absl::StrCat("token '", Printable(*token), "' is not in the vocabulary"));
    }
  }
  return RefuseUnknownBehaviour(config, impl);
}

absl::StatusOr<std::unique_ptr<TokenModel>> ReadModel(const JsonNode& model, bool byte_level) {
  FT_RETURN_IF_ERROR(model.IsObject());
  FT_ASSIGN_OR_RETURN(const std::string type, model["type"].String("BPE"));
  if (type == "BPE") return BpeModel::FromJson(model, byte_level);
  if (type != "Unigram") return model["type"].Unsupported();
  if (byte_level) return model["type"].Error("Unigram behind ByteLevel is not supported");
  return UnigramModel::FromJson(model);
}

// Where tokenizer_config.json says another thing than tokenizer.json, the latter counts, as in
// transformers since version 5; whoever serves the model with an older one does the other thing.
absl::Status NoteDisagreement(const JsonNode& config, Impl* impl) {
  for (const auto& [key, token, ids] :
       {std::tuple{"add_bos_token", &impl->bos, &impl->post.before},
        std::tuple{"add_eos_token", &impl->eos, &impl->post.behind}}) {
    if (!config[key].present()) continue;
    FT_ASSIGN_OR_RETURN(const bool says, config[key].Bool(false));
    if (says == !ids->empty()) continue;
    impl->notes.push_back(absl::StrCat(
        "tokenizer_config.json has ", key, ": ", says ? "true" : "false", ", but tokenizer.json ",
        says ? "adds none" : "adds one", ", and that is what is done, as transformers 5 does"));
  }
  return absl::OkStatus();
}

// Where there is no tokenizer.json to say which tokens stand around a text.
absl::Status ReadAround(const JsonNode& config, Impl* impl) {
  FT_ASSIGN_OR_RETURN(const bool bos, config["add_bos_token"].Bool(true));
  FT_ASSIGN_OR_RETURN(const bool eos, config["add_eos_token"].Bool(false));
  if (bos && !impl->bos.empty()) impl->post.before = {*impl->Id(impl->bos)};
  if (eos && !impl->eos.empty()) impl->post.behind = {*impl->Id(impl->eos)};
  return absl::OkStatus();
}

// Of a folder's programs some follow the files, others the library: whoever relies on an id should
// know which one it has here.
void NoteRenumbered(Impl* impl) {
  const std::vector<AddedTokens::Renumbered>& all = impl->added.renumbered();
  if (all.empty()) return;
  std::set<size_t> tokens;
  for (const AddedTokens::Renumbered& one : all) tokens.insert(one.token);
  const AddedToken& first = impl->added.tokens()[all[0].token];
  impl->notes.push_back(absl::StrCat(
      all[0].where, ": '", Printable(first.content), "' has the id ", first.id, ", not ",
      all[0].written, ": tokenizers and transformers 5 give a token the vocabulary's id or the ",
      "next behind it, whatever the file says", tokens.size() > 1 ? "; so it is with " : "",
      tokens.size() > 1 ? absl::StrCat(tokens.size(), " tokens") : ""));
}

// The tokens of a file that has no list of the kind that tokenizer.json has. Their ids are the
// model's own.
absl::Status AddOwn(const nlohmann::json& tokens, const std::string& where, AddedTokens* added) {
  FT_RETURN_IF_ERROR(added->AddList(JsonNode(&tokens, where), 0));
  if (added->renumbered().empty()) return absl::OkStatus();
  const AddedTokens::Renumbered& one = added->renumbered()[0];
  const AddedToken& token = added->tokens()[one.token];
  return absl::InvalidArgumentError(absl::StrCat(where, ": token '", Printable(token.content),
                                                 "' has the ids ", one.written, " and ", token.id));
}

absl::Status InFile(const std::string& name, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", status.message()));
}

absl::Status AddFromConfig(const JsonNode& config, int64_t first_free, Impl* impl) {
  FT_RETURN_IF_ERROR(impl->added.AddDecoder(config["added_tokens_decoder"], first_free));
  NoteRenumbered(impl);
  return impl->added.Index(impl->normalizer);
}

// Tokens that are found before anything else looks at a text, whatever the file says: behind a
// space put in front of each of its stretches none would be found where it should be.
nlohmann::json NotNormalized(const nlohmann::json& config) {
  nlohmann::json changed = config;
  const auto tokens = changed.is_object() ? changed.find("added_tokens_decoder") : changed.end();
  if (tokens == changed.end() || !tokens->is_object()) return changed;
  for (auto& [id, token] : tokens->items()) {
    if (token.is_object()) token["normalized"] = false;
  }
  return changed;
}

nlohmann::json SpecialToken(const std::string& content, size_t id) {
  return {{"content", content}, {"id", id}, {"special", true}, {"normalized", false}};
}

// The text of a file of Meta's, whose lines are base64 and a rank, under sentencepiece's name.
bool IsTiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  const size_t space = line.find(' ');
  return space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
         line.find_first_not_of("0123456789", space + 1) == std::string_view::npos;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view tokenizer,
                                                               std::string_view config,
                                                               const std::string& name) {
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(tokenizer, name));
  const JsonNode root(&parsed, name);
  FT_RETURN_IF_ERROR(
      root.OnlyKeys({"version", "truncation", "padding", "added_tokens", "normalizer",
                     "pre_tokenizer", "post_processor", "decoder", "model"}));
  const std::string config_name = name + " (tokenizer_config.json)";
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed_config,
                      ParseJson(config.empty() ? "{}" : config, config_name));
  const JsonNode config_root(&parsed_config, config_name);
  auto impl = std::make_unique<Impl>();
  FT_ASSIGN_OR_RETURN(impl->pre, PreTokenizer::Create(root["pre_tokenizer"]));
  FT_ASSIGN_OR_RETURN(impl->model, ReadModel(root["model"], impl->pre.byte_level()));
  FT_ASSIGN_OR_RETURN(impl->normalizer, Normalizer::Create(root["normalizer"]));
  const Vocabulary& vocabulary = impl->model->vocabulary();
  impl->added = AddedTokens(&vocabulary);
  FT_RETURN_IF_ERROR(impl->added.AddList(root["added_tokens"], vocabulary.size()));
  FT_RETURN_IF_ERROR(AddFromConfig(config_root, vocabulary.size(), impl.get()));
  FT_ASSIGN_OR_RETURN(impl->decoder, TokenDecoder::Create(root["decoder"]));
  FT_ASSIGN_OR_RETURN(impl->post, PostProcessor::Create(root["post_processor"]));
  FT_RETURN_IF_ERROR(ReadSpecialTokens(config_root, impl.get()));
  FT_RETURN_IF_ERROR(NoteDisagreement(config_root, impl.get()));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromSentencePiece(std::string_view model,
                                                                        std::string_view config,
                                                                        const std::string& name) {
  if (IsTiktoken(model)) {
    return absl::InvalidArgumentError(
        name +
        ": this is a tiktoken file, which does not say how text is cut; save the tokenizer "
        "with transformers, so that there is a tokenizer.json");
  }
  FT_ASSIGN_OR_RETURN(const SentencePieceFile file, SentencePieceFile::Parse(model, name));
  const std::string config_name = name + " (tokenizer_config.json)";
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed_config,
                      ParseJson(config.empty() ? "{}" : config, config_name));
  const nlohmann::json changed_config = NotNormalized(parsed_config);
  const JsonNode config_root(&changed_config, config_name);
  auto impl = std::make_unique<Impl>();
  if (file.model == SentencePieceFile::kBpe) {
    FT_ASSIGN_OR_RETURN(impl->model, BpeModel::FromPieces(file));
  } else {
    FT_ASSIGN_OR_RETURN(impl->model, UnigramModel::FromPieces(file));
  }
  auto spaces = SentencePieceNormalizer::Create(file);
  FT_RETURN_IF_ERROR(InFile(name, spaces.status()));
  impl->spaces = *std::move(spaces);
  FT_ASSIGN_OR_RETURN(const bool prefix, config_root["add_prefix_space"].Bool(file.dummy_prefix));
  if (prefix != file.dummy_prefix) {
    return config_root["add_prefix_space"].Error(
        "another value than the model's add_dummy_prefix is not supported");
  }
  FT_ASSIGN_OR_RETURN(impl->prefix_everywhere, config_root["legacy"].Bool(false));
  nlohmann::json controls = nlohmann::json::array();
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    if (file.pieces[i].type != SentencePieceFile::kControl) continue;
    controls.push_back(SpecialToken(file.pieces[i].text, i));
  }
  impl->added = AddedTokens(&impl->model->vocabulary());
  FT_RETURN_IF_ERROR(AddOwn(controls, name + ": control pieces", &impl->added));
  FT_RETURN_IF_ERROR(AddFromConfig(config_root, impl->model->vocabulary().size(), impl.get()));
  impl->decoder = TokenDecoder::SentencePiece(file.dummy_prefix);
  for (const auto& [id, token] :
       {std::pair{file.bos, &impl->bos}, std::pair{file.eos, &impl->eos}}) {
    if (id < 0) continue;
    const SentencePieceFile::Entry& piece = file.pieces[static_cast<size_t>(id)];
    if (piece.type == SentencePieceFile::kControl) *token = piece.text;
  }
  FT_RETURN_IF_ERROR(ReadSpecialTokens(config_root, impl.get()));
  FT_RETURN_IF_ERROR(ReadAround(config_root, impl.get()));
  if (!config_root["add_bos_token"].present() && !impl->bos.empty()) {
    impl->notes.push_back(absl::StrCat(
        "no file says whether '", Printable(impl->bos),
        "' is put in front of each text: it is; transformers 5 would put none there without "
        "add_bos_token: true in tokenizer_config.json"));
  }
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromTekken(std::string_view tekken,
                                                                 std::string_view config,
                                                                 const std::string& name) {
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(tekken, name));
  FT_ASSIGN_OR_RETURN(const TekkenFile file, TekkenFile::Read(JsonNode(&parsed, name)));
  const std::string config_name = name + " (tokenizer_config.json)";
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed_config,
                      ParseJson(config.empty() ? "{}" : config, config_name));
  const JsonNode config_root(&parsed_config, config_name);
  auto impl = std::make_unique<Impl>();
  auto pre = PreTokenizer::Matches(file.pattern);
  FT_RETURN_IF_ERROR(InFile(name + ": config.pattern", pre.status()));
  impl->pre = *std::move(pre);
  auto model = BpeModel::FromRanks(file.tokens, static_cast<int32_t>(file.specials.size()));
  FT_RETURN_IF_ERROR(InFile(name + ": vocab", model.status()));
  impl->model = *std::move(model);
  nlohmann::json specials = nlohmann::json::array();
  for (size_t i = 0; i < file.specials.size(); ++i) {
    specials.push_back(SpecialToken(file.specials[i], i));
  }
  impl->added = AddedTokens(&impl->model->vocabulary());
  FT_RETURN_IF_ERROR(AddOwn(specials, name + ": special_tokens", &impl->added));
  FT_RETURN_IF_ERROR(
      AddFromConfig(config_root, impl->model->vocabulary().max_id() + 1, impl.get()));
  impl->decoder = TokenDecoder::ByteLevel();
  for (const auto& [text, token] : {std::pair{"<s>", &impl->bos}, std::pair{"</s>", &impl->eos}}) {
    if (impl->Id(text).has_value()) *token = text;
  }
  FT_RETURN_IF_ERROR(ReadSpecialTokens(config_root, impl.get()));
  FT_RETURN_IF_ERROR(ReadAround(config_root, impl.get()));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

}  // namespace fttrain
