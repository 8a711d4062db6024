#include "data/tokenizer/tekken_file.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "data/tokenizer/vocabulary.h"
#include "runtime/files/json.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Files up to version v7 may leave the list out.
constexpr const char* kOldSpecials[] = {"<unk>",
                                        "<s>",
                                        "</s>",
                                        "[INST]",
                                        "[/INST]",
                                        "[AVAILABLE_TOOLS]",
                                        "[/AVAILABLE_TOOLS]",
                                        "[TOOL_RESULTS]",
                                        "[/TOOL_RESULTS]",
                                        "[TOOL_CALLS]",
                                        "[IMG]",
                                        "<pad>",
                                        "[IMG_BREAK]",
                                        "[IMG_END]",
                                        "[PREFIX]",
                                        "[MIDDLE]",
                                        "[SUFFIX]",
                                        "[SYSTEM_PROMPT]",
                                        "[/SYSTEM_PROMPT]",
                                        "[TOOL_CONTENT]"};
constexpr int64_t kMaxSpecials = 65536;
constexpr const char* kOldVersions[] = {"v1", "v2", "v3", "v7"};

// Rust's $ and ^ are the text's ends, those of the expressions that cut words are a line's.
bool HasAnchor(std::string_view pattern) {
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '$') return true;
    if (pattern[i] == '^' && (i == 0 || (pattern[i - 1] != '[' && pattern[i - 1] != '\\'))) {
      return true;
    }
  }
  return false;
}

absl::Status ReadSpecials(const JsonNode& root, size_t count, std::vector<std::string>* out) {
  const JsonNode list = root["special_tokens"];
  if (list.present()) {
    FT_RETURN_IF_ERROR(list.IsArray());
    out->resize(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      FT_RETURN_IF_ERROR(list[i].OnlyKeys({"rank", "token_str", "is_control"}));
      FT_ASSIGN_OR_RETURN(const int64_t rank,
                          list[i]["rank"].Int(0, static_cast<int64_t>(list.size()) - 1));
      FT_ASSIGN_OR_RETURN(const std::string token, list[i]["token_str"].String());
      std::string& slot = (*out)[static_cast<size_t>(rank)];
      if (!slot.empty() || token.empty()) return list[i].Error("an empty token, or a rank twice");
      slot = token;
    }
  } else {
    const JsonNode version = root["config"]["version"];
    FT_ASSIGN_OR_RETURN(const std::string name, version.String());
    bool old = false;
    for (const char* known : kOldVersions) old = old || name == known;
    if (!old) return root["special_tokens"].Error("needed in a file of version " + Printable(name));
    out->assign(std::begin(kOldSpecials), std::end(kOldSpecials));
  }
  if (out->size() > count) {
    return root["config"]["default_num_special_tokens"].Error(
        "fewer than there are special tokens");
  }
  for (size_t i = out->size(); i < count; ++i) out->push_back(absl::StrCat("<SPECIAL_", i, ">"));
  absl::flat_hash_set<std::string> seen(out->begin(), out->end());
  return seen.size() == count ? absl::OkStatus() : list.Error("a special token stands twice");
}

absl::Status ReadTokens(const JsonNode& list, size_t count, std::vector<std::string>* out) {
  FT_RETURN_IF_ERROR(list.IsArray());
  if (count > list.size()) return list.Error(absl::StrCat("fewer than ", count, " tokens"));
  out->resize(count);
  for (size_t i = 0; i < list.size(); ++i) {
    FT_RETURN_IF_ERROR(list[i].OnlyKeys({"rank", "token_bytes", "token_str"}));
    FT_ASSIGN_OR_RETURN(const int64_t rank, list[i]["rank"].Int(0, kMaxTokens));
    if (static_cast<size_t>(rank) >= count) continue;  // files hold more than a model has
    FT_ASSIGN_OR_RETURN(const std::string coded, list[i]["token_bytes"].String());
    std::string& slot = (*out)[static_cast<size_t>(rank)];
    if (!slot.empty()) return list[i]["rank"].Error("a rank that stands twice");
    if (!absl::Base64Unescape(coded, &slot) || slot.empty()) {
      return list[i]["token_bytes"].Error("base64 of at least one byte is needed");
    }
    if (slot.size() > kMaxTokenBytes) {
      return list[i]["token_bytes"].Error(absl::StrCat("longer than ", kMaxTokenBytes, " bytes"));
    }
  }
  for (size_t rank = 0; rank < count; ++rank) {
    if ((*out)[rank].empty()) return list.Error(absl::StrCat("rank ", rank, " is missing"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TekkenFile> TekkenFile::Read(const JsonNode& root) {
  // image, multimodal and audio say how pictures and sounds are cut up, the builder which words a
  // template puts in for settings: neither changes what a text becomes.
  FT_RETURN_IF_ERROR(root.OnlyKeys({"config", "vocab", "special_tokens", "version", "type", "image",
                                    "multimodal", "audio", "model_settings_builder"}));
  const JsonNode config = root["config"];
  FT_RETURN_IF_ERROR(config.OnlyKeys({"pattern", "num_vocab_tokens", "default_vocab_size",
                                      "default_num_special_tokens", "version"}));
  TekkenFile file;
  FT_ASSIGN_OR_RETURN(file.pattern, config["pattern"].String());
  if (HasAnchor(file.pattern)) {
    return config["pattern"].Error("the anchors $ and ^ are not supported");
  }
  FT_ASSIGN_OR_RETURN(const int64_t size, config["default_vocab_size"].Int(1, kMaxTokens));
  FT_ASSIGN_OR_RETURN(const int64_t specials, config["default_num_special_tokens"].Int(
                                                  1, std::min(size - 1, kMaxSpecials)));
  FT_RETURN_IF_ERROR(ReadSpecials(root, static_cast<size_t>(specials), &file.specials));
  FT_RETURN_IF_ERROR(ReadTokens(root["vocab"], static_cast<size_t>(size - specials), &file.tokens));
  return file;
}

}  // namespace fttrain
