#include "data/tokenizer/post_processor.h"

#include "runtime/files/json.h"

namespace fttrain {
namespace {

// A list of ids may be named over and over.
constexpr size_t kMaxAround = 65536;

absl::Status AddTemplate(const JsonNode& node, PostProcessor* post) {
  FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "single", "pair", "special_tokens"}));
  const JsonNode single = node["single"];
  FT_RETURN_IF_ERROR(single.IsArray());
  PostProcessor mine;
  size_t around = post->before.size() + post->behind.size();
  bool seen = false;
  for (size_t i = 0; i < single.size(); ++i) {
    if (single[i]["Sequence"].present()) {
      if (seen) return single[i].Error("the text occurs twice");
      seen = true;
      continue;
    }
    FT_ASSIGN_OR_RETURN(const std::string name, single[i]["SpecialToken"]["id"].String());
    const JsonNode special = node["special_tokens"][name.c_str()];
    const JsonNode ids = special["ids"], tokens = special["tokens"];
    FT_RETURN_IF_ERROR(ids.IsArray());
    for (size_t k = 0; k < ids.size(); ++k) {
      FT_ASSIGN_OR_RETURN(const int64_t id, ids[k].Int(0, INT32_MAX));
      (seen ? mine.behind : mine.before).push_back(static_cast<int32_t>(id));
      if (++around > kMaxAround) {
        return single.Error(absl::StrCat("puts more than ", kMaxAround, " tokens around a text"));
      }
      const bool has_name = tokens.present() && tokens.value().is_array() && k < tokens.size();
      if (!has_name) continue;
      FT_ASSIGN_OR_RETURN(std::string token, tokens[k].String());
      post->named.emplace_back(std::move(token), static_cast<int32_t>(id));
    }
  }
  if (!seen) return single.Error("the text does not occur");
  post->before.insert(post->before.begin(), mine.before.begin(), mine.before.end());
  post->behind.insert(post->behind.end(), mine.behind.begin(), mine.behind.end());
  return absl::OkStatus();
}

absl::Status AddProcessor(const JsonNode& node, PostProcessor* post) {
  if (!node.present()) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const std::string type, node["type"].String());
  if (type == "ByteLevel") {  // changes offsets only
    return node.OnlyKeys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }
  if (type == "TemplateProcessing") return AddTemplate(node, post);
  if (type != "Sequence") return node["type"].Unsupported();
  FT_RETURN_IF_ERROR(node.OnlyKeys({"type", "processors"}));
  const JsonNode list = node["processors"];
  FT_RETURN_IF_ERROR(list.IsArray());
  for (size_t i = 0; i < list.size(); ++i) FT_RETURN_IF_ERROR(AddProcessor(list[i], post));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::Create(const JsonNode& node) {
  PostProcessor post;
  FT_RETURN_IF_ERROR(AddProcessor(node, &post));
  return post;
}

}  // namespace fttrain
