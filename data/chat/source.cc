#include "data/chat/source.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/files/json.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{256} << 20;

using Templates = std::map<std::string, std::string>;

template <typename Map>
std::string NamesOf(const Map& map) {
  std::string out;
  for (const auto& [name, text] : map) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// chat_template.jinja and additional_chat_templates/*.jinja.
absl::StatusOr<Templates> TemplateFiles(const std::string& folder) {
  Templates out;
  absl::StatusOr<std::string> main = ReadFile(folder + "/chat_template.jinja", kMaxFileBytes);
  if (main.ok()) {
    out.emplace("default", *std::move(main));
  } else if (!absl::IsNotFound(main.status())) {
    return main.status();
  }
  std::error_code none;  // of a folder that is not there
  using Files = std::filesystem::directory_iterator;
  for (auto file = Files(folder + "/additional_chat_templates", none); !none && file != Files();
       file.increment(none)) {
    const std::filesystem::path path = file->path();
    if (path.extension() != ".jinja") continue;
    FT_ASSIGN_OR_RETURN(std::string text, ReadFile(path.string(), kMaxFileBytes));
    out[path.stem().string()] = std::move(text);
  }
  return out;
}

// The key chat_template of a JSON file: a text, or a list of named ones. None in it, or no file:
// {}.
absl::StatusOr<Templates> TemplatesInJson(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxFileBytes);
  if (absl::IsNotFound(text.status())) return Templates();
  FT_RETURN_IF_ERROR(text.status());
  FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*text, path));
  const JsonNode node = JsonNode(&parsed, path)["chat_template"];
  Templates out;
  if (!node.present() || node.value().is_null()) return out;
  if (!node.value().is_array()) {
    FT_ASSIGN_OR_RETURN(out["default"], node.String());
    return out;
  }
  for (size_t i = 0; i < node.size(); ++i) {
    FT_ASSIGN_OR_RETURN(const std::string name, node[i]["name"].String());
    FT_ASSIGN_OR_RETURN(out[name], node[i]["template"].String());
  }
  return out;
}

}  // namespace

std::vector<std::string_view> BuiltinChatTokens(std::string_view name) {
  static const std::vector<std::string_view> chatml = {"<|im_end|>", "<|im_start|>"};
  static const std::vector<std::string_view> llama3 = {"<|eot_id|>", "<|start_header_id|>",
                                                       "<|end_header_id|>"};
  static const std::map<std::string_view, std::vector<std::string_view>> tokens = {
      {"chatml", chatml},
      {"deepseek", {"<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"}},
      {"gemma", {"<end_of_turn>", "<start_of_turn>"}},
      {"glm4", {"<|user|>", "<|assistant|>", "[gMASK]", "<sop>"}},
      {"llama3", llama3},
      {"llama3.1", llama3},
      {"llama3.2", llama3},
      {"phi3", {"<|end|>", "<|user|>", "<|assistant|>"}},
      {"phi4", {"<|im_end|>", "<|im_start|>", "<|im_sep|>"}},
      {"qwen2.5", chatml},
      {"qwen3", chatml},
  };
  const auto found = tokens.find(name);
  return found == tokens.end() ? std::vector<std::string_view>() : found->second;
}

absl::StatusOr<Templates> FolderChatTemplates(const std::string& folder) {
  if (folder.empty()) return absl::NotFoundError("there is no folder to look for one in");
  FT_ASSIGN_OR_RETURN(Templates files, TemplateFiles(folder));
  if (!files.empty()) return files;
  for (const char* name : {"/tokenizer_config.json", "/chat_template.json"}) {
    FT_ASSIGN_OR_RETURN(Templates found, TemplatesInJson(folder + name));
    if (!found.empty()) return found;
  }
  return absl::NotFoundError(
      absl::StrCat("there is no chat_template.jinja in ", folder,
                   ", nor a chat_template in its tokenizer_config.json or chat_template.json"));
}

std::string BuiltinChatNames() { return NamesOf(BuiltinChatTemplates()); }

namespace {

std::string OwnName(const std::string& name, const std::string& folder) {
  return absl::StrCat(name == "default" ? "" : name + " ", "of ", folder);
}

// What was chosen is a file that cannot be used, not a choice that there is not.
absl::Status OfFile(const absl::Status& status) {
  return absl::IsInvalidArgument(status) ? absl::DataLossError(status.message()) : status;
}

absl::StatusOr<ChatSource> Auto(const absl::StatusOr<Templates>& own, const std::string& folder) {
  if (!own.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        own.status().message(), ": set data.chat_template to one of ", BuiltinChatNames()));
  }
  const auto main = own->find("default");
  if (main == own->end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("of the chat templates of ", folder,
                     " none is called default: set data.chat_template to one of ", NamesOf(*own)));
  }
  ChatSource out;
  out.name = OwnName("default", folder);
  out.text = main->second;
  const auto tools = own->find("tool_use");
  if (tools == own->end()) return out;
  out.tools_name = OwnName("tool_use", folder);
  out.tools_text = tools->second;
  return out;
}

}  // namespace

absl::StatusOr<ChatSource> FindChatTemplate(const std::string& name, const std::string& folder) {
  ChatSource out;
  out.name = name;
  if (name.ends_with(".jinja")) {
    auto text = ReadFile(name, kMaxFileBytes);
    if (!text.ok()) {
      return OfFile(absl::Status(text.status().code(),
                                 absl::StrCat("data.chat_template: ", text.status().message())));
    }
    out.text = *std::move(text);
    return out;
  }
  const absl::StatusOr<Templates> own = FolderChatTemplates(folder);
  if (!own.ok() && !absl::IsNotFound(own.status())) return OfFile(own.status());
  if (name == "auto") return Auto(own, folder);
  const Templates named = own.ok() ? *own : Templates();
  const auto ours = BuiltinChatTemplates().find(name);
  const bool builtin = ours != BuiltinChatTemplates().end();
  const auto found = named.find(name);
  if (found != named.end()) {
    out.name = OwnName(name, folder);
    out.text = found->second;
    if (builtin)
      out.note = absl::StrCat("chat template ", name,
                              " is the checkpoint's own of that "
                              "name, not the built-in one");
    return out;
  }
  if (!builtin) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.chat_template: there is no chat template ", Printable(name),
                     ": auto, a path that ends in .jinja, ", BuiltinChatNames(),
                     named.empty() ? "" : ", ", NamesOf(named), " are"));
  }
  out.text = std::string(ours->second);
  out.builtin = true;
  const auto main = named.find("default");
  if (main != named.end()) out.own = main->second;
  return out;
}

// Of these two files the later one read counts; beside a list added_tokens_decoder, which older
// versions did not write, transformers 5 reads the map no more (data/tokenizer/folder.cc too).
absl::StatusOr<std::map<std::string, std::string>> SpecialTokens(const std::string& folder) {
  std::map<std::string, std::string> tokens;
  for (const char* file : {"/tokenizer_config.json", "/special_tokens_map.json"}) {
    const absl::StatusOr<std::string> text = ReadFile(folder + file, kMaxFileBytes);
    if (absl::IsNotFound(text.status())) continue;
    FT_RETURN_IF_ERROR(text.status());
    FT_ASSIGN_OR_RETURN(const nlohmann::json parsed, ParseJson(*text, folder + file));
    for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token",
                             "cls_token", "mask_token"}) {
      const auto found = parsed.find(name);
      if (found == parsed.end()) continue;
      const nlohmann::json& value =
          found->is_object() && found->contains("content") ? (*found)["content"] : *found;
      if (value.is_string()) tokens[name] = value.get<std::string>();
      if (value.is_null()) tokens.erase(name);
    }
    if (parsed.contains("added_tokens_decoder")) break;
  }
  return tokens;
}

}  // namespace fttrain
