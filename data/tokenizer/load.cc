// A Tokenizer from the texts of its files.
#include "absl/algorithm/container.h"
#include "data/text/unicode.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/config_tokens.h"
#include "data/tokenizer/sentencepiece_file.h"
#include "data/tokenizer/tekken_file.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_impl.h"
#include "data/tokenizer/unigram.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

using Impl = Tokenizer::Impl;

absl::StatusOr<std::unique_ptr<TokenModel>> ReadModel(const JsonNode& model, bool byte_level) {
  FT_RETURN_IF_ERROR(model.IsObject());
  FT_ASSIGN_OR_RETURN(const std::string type, model["type"].String("BPE"));
  if (type == "BPE") return BpeModel::FromJson(model, byte_level);
  if (type != "Unigram") return model["type"].Unsupported();
  if (byte_level) return model["type"].Error("Unigram behind ByteLevel is not supported");
  return UnigramModel::FromJson(model);
}

// Where there is no tokenizer.json to say which tokens stand around a text.
absl::Status ReadAround(const JsonNode& config, Impl* impl) {
  FT_ASSIGN_OR_RETURN(const bool bos, config["add_bos_token"].Bool(true));
  FT_ASSIGN_OR_RETURN(const bool eos, config["add_eos_token"].Bool(false));
  if (bos && !impl->bos.empty()) impl->post.before = {*impl->Id(impl->bos)};
  if (eos && !impl->eos.empty()) impl->post.behind = {*impl->Id(impl->eos)};
  return absl::OkStatus();
}

void NoteAround(const JsonNode& node, Impl* impl) {
  for (const auto& [token, id] : impl->post.named) {
    const auto has = impl->Id(token);
    if (has == id) continue;
    impl->notes.push_back(absl::StrCat(
        node.path(), " puts the id ", id, " around a text for '", Printable(token), "', whose id ",
        "is ", has ? absl::StrCat(*has) : "none", "; tokenizers and transformers 5 do so too"));
  }
}

// The tokens of a file that has no list of the kind that tokenizer.json has. Their ids are the
// model's own.
absl::Status AddOwn(const nlohmann::json& tokens, const std::string& where, AddedTokens* added) {
  FT_RETURN_IF_ERROR(added->AddList(JsonNode(&tokens, where), 0));
  if (added->renumbered().empty()) return absl::OkStatus();
  const AddedTokens::Mention& one = added->renumbered()[0];
  const AddedToken& token = added->tokens()[one.token];
  return absl::InvalidArgumentError(absl::StrCat(where, ": token '", Printable(token.content),
                                                 "' has the ids ", one.written, " and ", token.id));
}

absl::Status InFile(const std::string& name, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", status.message()));
}

// sentencepiece itself finds the pieces that its user defined, as transformers does.
nlohmann::json WithoutUserDefined(nlohmann::json config, const SentencePieceFile& file) {
  const auto list = config.find("additional_special_tokens");
  if (list == config.end() || !list->is_array()) return config;
  nlohmann::json kept = nlohmann::json::array();
  for (const nlohmann::json& token : *list) {
    const bool own = absl::c_any_of(file.pieces, [&](const SentencePieceFile::Entry& piece) {
      return piece.type == SentencePieceFile::kUserDefined && token == piece.text;
    });
    if (!own) kept.push_back(token);
  }
  *list = std::move(kept);
  return config;
}

// transformers takes added_tokens_decoder for a piece's new name where the model has no such piece.
absl::Status RefuseRenamed(const JsonNode& decoder, const SentencePieceFile& file,
                           const Vocabulary& vocabulary) {
  for (size_t i = 0; decoder.present() && i < file.pieces.size(); ++i) {
    const JsonNode token = decoder[absl::StrCat(i).c_str()]["content"];
    if (!token.present()) continue;
    FT_ASSIGN_OR_RETURN(const std::string content, token.String());
    if (vocabulary.Find(content) >= 0) continue;
    return token.Error(absl::StrCat("'", Printable(content), "' has the id of the model's piece '",
                                    Printable(file.pieces[i].text),
                                    "': renaming a piece is not supported"));
  }
  return absl::OkStatus();
}

nlohmann::json SpecialToken(const std::string& content, size_t id) {
  return {{"content", content}, {"id", id}, {"special", true}, {"normalized", false}};
}

void NoteBos(const JsonNode& config, Impl* impl) {
  if (config["add_bos_token"].present() || impl->bos.empty()) return;
  impl->notes.push_back(absl::StrCat(
      "no file says whether '", Printable(impl->bos),
      "' is put in front of each text: it is; transformers 5 would put none there without "
      "add_bos_token: true in tokenizer_config.json"));
}

nlohmann::json ControlPieces(const SentencePieceFile& file) {
  nlohmann::json controls = nlohmann::json::array();
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    if (file.pieces[i].type != SentencePieceFile::kControl) continue;
    controls.push_back(SpecialToken(file.pieces[i].text, i));
  }
  return controls;
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
  FT_RETURN_IF_ERROR(AddConfigTokens(config_root, vocabulary.size(), impl.get()));
  FT_RETURN_IF_ERROR(impl->added.Index(impl->normalizer));
  FT_ASSIGN_OR_RETURN(impl->decoder, TokenDecoder::Create(root["decoder"]));
  FT_ASSIGN_OR_RETURN(impl->post, PostProcessor::Create(root["post_processor"]));
  NoteAround(root["post_processor"], impl.get());
  FT_RETURN_IF_ERROR(CheckConfigKeys(config_root, impl.get()));
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
  const nlohmann::json changed_config = WithoutUserDefined(parsed_config, file);
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
  impl->added = AddedTokens(&impl->model->vocabulary());
  FT_RETURN_IF_ERROR(AddOwn(ControlPieces(file), name + ": control pieces", &impl->added));
  FT_RETURN_IF_ERROR(
      RefuseRenamed(config_root["added_tokens_decoder"], file, impl->model->vocabulary()));
  impl->decoder = TokenDecoder::SentencePiece(file.dummy_prefix);
  for (const auto& [id, token] :
       {std::pair{file.bos, &impl->bos}, std::pair{file.eos, &impl->eos}}) {
    if (id < 0) continue;
    const SentencePieceFile::Entry& piece = file.pieces[static_cast<size_t>(id)];
    if (piece.type == SentencePieceFile::kControl) *token = piece.text;
  }
  // Tokens are found before anything else looks at a text, whatever the file says: behind a space
  // put in front of each of its stretches none would be found where it should be.
  FT_RETURN_IF_ERROR(AddConfigTokens(config_root, impl->model->vocabulary().size(), impl.get()));
  FT_RETURN_IF_ERROR(impl->added.Index(impl->normalizer, /*raw=*/true));
  FT_RETURN_IF_ERROR(CheckConfigKeys(config_root, impl.get()));
  FT_RETURN_IF_ERROR(ReadAround(config_root, impl.get()));
  NoteBos(config_root, impl.get());
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
  impl->decoder = TokenDecoder::ByteLevel();
  for (const auto& [text, token] : {std::pair{"<s>", &impl->bos}, std::pair{"</s>", &impl->eos}}) {
    if (impl->Id(text).has_value()) *token = text;
  }
  FT_RETURN_IF_ERROR(
      AddConfigTokens(config_root, impl->model->vocabulary().max_id() + 1, impl.get()));
  FT_RETURN_IF_ERROR(impl->added.Index(impl->normalizer));
  FT_RETURN_IF_ERROR(CheckConfigKeys(config_root, impl.get()));
  FT_RETURN_IF_ERROR(ReadAround(config_root, impl.get()));
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::move(impl)));
}

}  // namespace fttrain
