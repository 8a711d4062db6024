// Renders conversations with masks for a Python program beside it: one JSON object a line in,
// {"template", "tokens": [added tokens], "messages", "tools"}, one out. The text is rendered with
// borders remembered and without; "same" says whether that made no difference. Every assistant turn
// learns but those with "learn": false.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "data/chat/borders.h"
#include "data/chat/renderer.h"
#include "data/chat/targets.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {
namespace {

using Json = nlohmann::ordered_json;

struct Form {
  Renderer renderer;
  TurnEnds ends;
};

// A tokenizer of the bare alphabet with these tokens added.
absl::StatusOr<std::unique_ptr<Tokenizer>> TokenizerWith(const std::string& path,
                                                         const Json& tokens) {
  std::ifstream in(path, std::ios::binary);
  auto file = nlohmann::json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
  std::set<std::string> known;
  for (const auto& [token, number] : file["model"]["vocab"].items()) known.insert(token);
  for (const auto& token : file["added_tokens"]) known.insert(token["content"]);
  for (const auto& token : tokens) {
    const auto id = known.size();
    if (!known.insert(token.get<std::string>()).second) continue;
    nlohmann::json added = file["added_tokens"][0];
    added["id"] = id;
    added["content"] = token.get<std::string>();
    file["added_tokens"].push_back(added);
  }
  return Tokenizer::FromJson(file.dump(), "", path);
}

absl::StatusOr<Form> FormOf(const Json& asked, const std::string& tokenizer_path) {
  std::tm today = {};
  today.tm_year = 124;
  today.tm_mon = 6;
  today.tm_mday = 26;
  auto renderer = Renderer::Parse(asked["template"].get<std::string>(), "tried",
                                  {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, today);
  if (!renderer.ok()) return renderer.status();
  const auto tokenizer = TokenizerWith(tokenizer_path, asked["tokens"]);
  if (!tokenizer.ok()) return tokenizer.status();
  auto ends = FindTurnEnds(*renderer, **tokenizer);
  if (!ends.ok()) return ends.status();
  return Form{*std::move(renderer), *std::move(ends)};
}

Conversation ConversationOf(const Json& asked) {
  Conversation out;
  for (const Json& from : asked["messages"]) {
    Message message{from["role"].get<std::string>(), ""};
    message.learn = message.role == "assistant" && from.value("learn", true);
    message.null_content = !from.contains("content") || from["content"].is_null();
    if (!message.null_content) message.content = from["content"].get<std::string>();
    for (const auto& [key, value] : from.items()) {
      if (key == "role" || key == "content" || key == "learn") continue;
      message.more.emplace_back(key, jinja::FromJson(value));
    }
    out.messages.push_back(std::move(message));
  }
  for (const char* key : {"tools", "documents"}) {
    if (!asked.contains(key) || asked[key].is_null()) continue;
    auto& list = std::string(key) == "tools" ? out.tools : out.documents;
    for (const Json& item : asked[key]) list.push_back(jinja::FromJson(item));
  }
  return out;
}

Json Failed(const absl::Status& status) {
  return {{"ok", false}, {"error", std::string(status.message())}};
}

bool Same(const absl::StatusOr<Targets>& a, const absl::StatusOr<Targets>& b) {
  if (!a.ok() || !b.ok()) return a.status() == b.status();
  return std::equal(
      a->parts.begin(), a->parts.end(), b->parts.begin(), b->parts.end(),
      [](const TextPart& x, const TextPart& y) { return x.begin == y.begin && x.end == y.end; });
}

Json Answer(const Json& asked, const std::string& tokenizer_path) {
  static std::map<std::string, absl::StatusOr<Form>> forms;
  const std::string key = asked["template"];
  auto found = forms.find(key);
  if (found == forms.end()) found = forms.emplace(key, FormOf(asked, tokenizer_path)).first;
  if (!found->second.ok()) return Failed(found->second.status());
  const Form& form = *found->second;
  const Conversation conversation = ConversationOf(asked);
  const auto dialog = MakeDialog(conversation, nullptr);
  if (!dialog.ok()) return Failed(dialog.status());
  const auto whole = form.renderer.Render(*dialog, false);
  if (!whole.ok()) return Failed(whole.status());
  const auto before = std::chrono::steady_clock::now();
  const auto targets = FindTargets(form.renderer, form.ends, conversation, *whole, true);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - before;
  const bool slowly = asked.value("slowly", true);
  const bool same =
      !slowly || Same(targets, FindTargets(form.renderer, form.ends, conversation, *whole, false));
  if (!targets.ok()) {
    Json out = Failed(targets.status());
    out["same"] = same;
    return out;
  }
  Json parts = Json::array();
  for (const TextPart& part : targets->parts) parts.push_back({part.begin, part.end});
  return {{"ok", true},
          {"text", whole->text},
          {"parts", parts},
          {"dropped", targets->dropped_reasoning},
          {"same", same},
          {"tagged", !whole->generation.empty()},
          {"seconds", seconds.count()}};
}

}  // namespace
}  // namespace fttrain

// Its argument is a tokenizer.json to add tokens to.
int main(int, char** argv) {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const auto asked = nlohmann::ordered_json::parse(line);
    std::cout << fttrain::Answer(asked, argv[1]).dump() << std::endl;
  }
  return 0;
}
