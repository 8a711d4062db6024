#include "data/tokenizer/config_tokens.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "data/tokenizer/unigram.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

using Impl = Tokenizer::Impl;

struct ConfigToken {
  JsonNode node;  // a string, or an object with content and flags
  bool named;     // by a key, not in a list
};

// The keys that transformers knows for every tokenizer.
constexpr const char* kNames[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                  "pad_token", "cls_token", "mask_token"};

void AddItems(const JsonNode& list, bool named, std::vector<ConfigToken>* out) {
  for (const auto& [name, token] : list.value().items()) {
    out->push_back({JsonNode(&token, absl::StrCat(list.path(), "[", Printable(name), "]")), named});
  }
}

// In transformers' order.
absl::StatusOr<std::vector<ConfigToken>> TokensOf(const JsonNode& config) {
  std::vector<ConfigToken> out;
  const auto add = [&](const char* key) {
    if (config[key].present()) out.push_back({config[key], true});
  };
  for (const char* key : kNames) add(key);
  for (const bool text : {false, true}) {  // of one model's own, as image_token
    if (!config.present()) break;
    for (const auto& [key, token] : config.value().items()) {
      const bool known = std::find(std::begin(kNames), std::end(kNames), key) != std::end(kNames);
      const bool is_token =
          text ? token.is_string() : token.is_object() && token.contains("__type");
      if (absl::EndsWith(key, "_token") && !known && is_token) add(key.c_str());
    }
  }
  const JsonNode extra = config["extra_special_tokens"];
  const JsonNode additional = config["additional_special_tokens"];
  for (const JsonNode& list : {extra, additional}) {
    const bool is_list = !list.present() || list.value().is_array() || list.value().is_object();
    if (!is_list) return list.Error("a list of tokens is needed");
  }
  const bool names = extra.present() && extra.value().is_object();
  if (names) AddItems(extra, true, &out);
  const bool one_list = extra.present() && !names && extra.size() > 0;
  if (one_list) AddItems(extra, false, &out);
  if (!one_list && additional.present()) AddItems(additional, false, &out);
  return out;
}

absl::StatusOr<std::string> Content(const JsonNode& token) {
  return (token.value().is_object() ? token["content"] : token).String();
}

// Of a folder's programs some follow the files, others the library: whoever relies on an id should
// know which one it has here.
void NoteRenumbered(Impl* impl) {
  const std::vector<AddedTokens::Mention>& all = impl->added.renumbered();
  if (all.empty()) return;
  std::set<size_t> tokens;
  for (const AddedTokens::Mention& one : all) tokens.insert(one.token);
  const AddedToken& first = impl->added.tokens()[all[0].token];
  impl->notes.push_back(absl::StrCat(
      all[0].where, ": '", Printable(first.content), "' has the id ", first.id, ", not ",
      all[0].written, ": tokenizers and transformers 5 give a token the vocabulary's id or the ",
      "next behind it, whatever the file says", SoItIsWith(static_cast<int64_t>(tokens.size()))));
}

void NoteShared(Impl* impl) {
  const std::vector<AddedTokens::SharedId>& all = impl->added.shared();
  if (all.empty()) return;
  impl->notes.push_back(absl::StrCat(all[0].where, ": '", Printable(all[0].first), "' and '",
                                     Printable(all[0].second), "' have one id, ", all[0].id,
                                     ", as tokenizers gives it: a model cannot tell them apart",
                                     SoItIsWith(static_cast<int64_t>(all.size()))));
}

void NoteReflagged(Impl* impl) {
  const std::vector<AddedTokens::Mention>& all = impl->added.reflagged();
  if (all.empty()) return;
  impl->notes.push_back(absl::StrCat(
      all[0].where, ": '", Printable(impl->added.tokens()[all[0].token].content),
      "' has other flags (special, normalized, lstrip, rstrip, single_word) than before; the later "
      "count, as in transformers 5",
      SoItIsWith(static_cast<int64_t>(all.size()))));
}

void NoteNew(const std::vector<ConfigToken>& tokens, size_t added_before, Impl* impl) {
  int64_t count = 0;
  const AddedToken* first = nullptr;
  for (size_t i = added_before; i < impl->added.tokens().size(); ++i) {
    const AddedToken& token = impl->added.tokens()[i];
    if (impl->model->vocabulary().Find(token.content) >= 0) continue;
    if (count++ == 0) first = &token;
  }
  if (first == nullptr) return;
  std::string where;
  for (const ConfigToken& token : tokens) {
    const auto content = Content(token.node);
    if (content.ok() && *content == first->content && where.empty()) where = token.node.path();
  }
  impl->notes.push_back(absl::StrCat(
      where, ": the tokenizer has no token '", Printable(first->content),
      "'; it is added, as in transformers 5, with the id ", first->id, SoItIsWith(count)));
}

}  // namespace

absl::Status AddConfigTokens(const JsonNode& config, int64_t first_free, Impl* impl) {
  FT_ASSIGN_OR_RETURN(const std::vector<ConfigToken> tokens, TokensOf(config));
  std::set<std::string> contents;
  for (const ConfigToken& token : tokens) {
    FT_ASSIGN_OR_RETURN(std::string content, Content(token.node));
    contents.insert(std::move(content));
  }
  AddedTokens& added = impl->added;
  FT_RETURN_IF_ERROR(added.AddDecoder(config["added_tokens_decoder"], first_free));
  FT_RETURN_IF_ERROR(added.AddFile(config[kAddedTokensFile], contents, first_free));
  NoteRenumbered(impl);
  NoteShared(impl);
  NoteReflagged(impl);
  const size_t before = added.tokens().size();
  for (const ConfigToken& token : tokens) {
    FT_RETURN_IF_ERROR(added.AddSpecial(token.node, token.named, first_free));
  }
  NoteNew(tokens, before, impl);
  for (const auto& [key, text] :
       {std::pair{"bos_token", &impl->bos}, std::pair{"eos_token", &impl->eos}}) {
    if (!config[key].present()) continue;
    FT_ASSIGN_OR_RETURN(*text, Content(config[key]));
  }
  return absl::OkStatus();
}

absl::Status CheckConfigKeys(const JsonNode& config, Impl* impl) {
  FT_RETURN_IF_ERROR(config.MustBeOff("split_special_tokens"));
  FT_ASSIGN_OR_RETURN(const bool other_regex, config["fix_mistral_regex"].Bool(false));
  if (other_regex) {
    impl->notes.push_back(
        "fix_mistral_regex: true is not applied: text is cut as the tokenizer's file says; "
        "transformers 5 cuts it otherwise in a Mistral folder written by an older version");
  }
  FT_ASSIGN_OR_RETURN(const bool cleans, config["clean_up_tokenization_spaces"].Bool(false));
  if (cleans && dynamic_cast<const UnigramModel*>(impl->model.get()) != nullptr) {
    impl->notes.push_back(
        "clean_up_tokenization_spaces: true is not applied to text made of ids; transformers 5 "
        "does so with Unigram models");
  }
  if (config["auto_map"]["AutoTokenizer"].present() ||
      (config["auto_map"].present() && config["auto_map"].value().is_array())) {
    impl->notes.push_back(
        "auto_map in tokenizer_config.json names code that comes with the folder; it is not run: "
        "the tokenizer is what the file says");
  }
  return absl::OkStatus();
}

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
  const JsonNode prefix = config["add_prefix_space"];
  if (prefix.present()) {
    FT_ASSIGN_OR_RETURN(const bool says, prefix.Bool(false));
    const bool does = impl->pre.puts_space() || impl->normalizer.prepends();
    if (says != does) {
      impl->notes.push_back(absl::StrCat(
          "tokenizer_config.json has add_prefix_space: ", says ? "true" : "false",
          ", but tokenizer.json puts ", does ? "a" : "no", " space in front of a text, which ",
          "counts; some classes of transformers 5 (GPT2Tokenizer, Qwen2Tokenizer, ",
          "LlamaTokenizer) follow the former"));
    }
  }
  return absl::OkStatus();
}

}  // namespace fttrain
