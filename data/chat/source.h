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

// The template in a checkpoint's folder, looked for as transformers does: chat_template.jinja;
// else chat_template in tokenizer_config.json, a text or a list of named ones, of which the one
// called "default" counts. NotFound, naming what is missing, if there is none.
absl::StatusOr<std::string> FolderChatTemplate(const std::string& folder);

// The special tokens that transformers shows a template: bos_token, eos_token, pad_token,
// unk_token, sep_token, cls_token, mask_token of tokenizer_config.json and special_tokens_map.json,
// where they are set.
absl::StatusOr<std::map<std::string, std::string>> SpecialTokens(const std::string& folder);

}  // namespace fttrain
