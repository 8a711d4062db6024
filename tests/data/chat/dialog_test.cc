#include "data/chat/dialog.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <tuple>

namespace fttrain {
namespace {

jinja::Value Json(const char* text) { return jinja::FromJson(nlohmann::ordered_json::parse(text)); }

Conversation Everything() {
  Conversation out;
  out.messages.push_back({"system", "Be brief."});
  out.messages.push_back({"user", " \n"});
  out.messages.push_back({"user", "What?"});
  Message calls{"assistant", "", true, /*null_content=*/true};
  calls.more.emplace_back("reasoning_content", Json(R"("I look.")"));
  calls.more.emplace_back("tool_calls", Json(R"([{"id": "1", "function": {"name": "look",
      "arguments": {"where": "here", "how": {"often": 2}}}}])"));
  out.messages.push_back(calls);
  Message found{"tool", "there"};
  found.more.emplace_back("name", Json(R"("look")"));
  out.messages.push_back(found);
  out.messages.push_back({"assistant", "There.", true});
  out.tools = {
      Json(R"({"type": "function", "function": {"name": "look", "description": "Looks"}})")};
  out.documents = {Json(R"({"title": "A", "text": "b"})")};
  return out;
}

// What the templates are given and what is looked at are one list of texts.
TEST(Dialog, ShowsItsTextsWithoutValuesToo) {
  using Seen = std::vector<std::tuple<size_t, TextKind, std::string, size_t, std::string>>;
  const Conversation conversation = Everything();
  Seen rewritten, looked_at;
  ASSERT_TRUE(MakeDialog(conversation, [&](const TextPlace& place, const std::string& text) {
                rewritten.emplace_back(place.message, place.kind, place.key, place.item, text);
                return text;
              }).ok());
  ForEachText(conversation, [&](const TextPlace& place, const std::string& text) {
    looked_at.emplace_back(place.message, place.kind, place.key, place.item, text);
  });
  EXPECT_EQ(looked_at, rewritten);
  EXPECT_EQ(looked_at.size(), 13u);
}

}  // namespace
}  // namespace fttrain
