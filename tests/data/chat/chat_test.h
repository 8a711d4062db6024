// What the tests of chat templates share.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data/chat/template.h"
#include "tests/data/golden.h"

namespace fttrain {

inline std::string Joined(const RenderedChat& chat, bool targets_only = false) {
  std::string out;
  for (const ChatSegment& s : chat.segments) {
    if (s.target || !targets_only) out += s.text;
  }
  return out;
}

inline absl::StatusOr<RenderedChat> Render(const ChatTemplate& chat,
                                           std::vector<Message> messages) {
  return chat.Render({std::move(messages)});
}

inline absl::StatusOr<std::string> Prompt(const ChatTemplate& chat, std::vector<Message> messages) {
  return chat.RenderPrompt({std::move(messages)});
}

// A golden tokenizer with more tokens.
inline std::unique_ptr<Tokenizer> TokenizerWith(const std::string& name,
                                                const std::vector<std::string>& tokens,
                                                const std::string& config = "") {
  nlohmann::json file = GoldenJson(name + ".tokenizer.json");
  std::set<std::string> known;
  for (const auto& [token, number] : file["model"]["vocab"].items()) known.insert(token);
  for (const auto& token : file["added_tokens"]) known.insert(token["content"]);
  for (const std::string& token : tokens) {
    nlohmann::json added = file["added_tokens"][0];
    added["id"] = known.size();
    added["content"] = token;
    file["added_tokens"].push_back(added);
    known.insert(token);
  }
  auto tokenizer = Tokenizer::FromJson(file.dump(), config, name);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

}  // namespace fttrain
