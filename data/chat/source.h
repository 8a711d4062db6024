// Where a chat template's text comes from.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

// The project's own templates, by the name of their file in data/chat/builtin; the build puts their
// texts in.
const std::map<std::string, std::string_view>& BuiltinChatTemplates();
// Tokens that one of these writes, which a tokenizer must have.
std::vector<std::string_view> BuiltinChatTokens(std::string_view name);

// The templates in a checkpoint's folder by name, looked for as transformers does:
// chat_template.jinja, called "default", with the files of additional_chat_templates/, called as
// these; without any, chat_template in tokenizer_config.json, a text ("default") or a list of named
// ones; else that in a processor's chat_template.json. NotFound, naming what is missing, if there
// is none; an empty folder name has none.
absl::StatusOr<std::map<std::string, std::string>> FolderChatTemplates(const std::string& folder);

// What ChatOptions::name stands for.
struct ChatSource {
  std::string name, text;              // `name` as messages have it
  std::string tools_name, tools_text;  // for conversations with tools; empty: the same
  bool builtin = false;
  std::string own;  // of a built-in one: the folder's default, if there is one
  std::string note;
};
// InvalidArgument, saying what there is, if it stands for nothing; NotFound for a path that leads
// nowhere; DataLoss if a file with templates cannot be read as one.
absl::StatusOr<ChatSource> FindChatTemplate(const std::string& name, const std::string& folder);

// Names of the project's, separated by commas.
std::string BuiltinChatNames();

// The special tokens that transformers 5 shows a template: bos_token, eos_token, pad_token,
// unk_token, sep_token, cls_token, mask_token, where they are set, of special_tokens_map.json
// before tokenizer_config.json, unless that has added_tokens_decoder: then of it alone.
absl::StatusOr<std::map<std::string, std::string>> SpecialTokens(const std::string& folder);

}  // namespace fttrain
