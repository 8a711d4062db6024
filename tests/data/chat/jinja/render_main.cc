// Renders templates for a Python program beside it (differential.py): one JSON object a line in,
// {"template", "variables", "now": [year, ..., seconds]}, one out.
#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "data/chat/jinja/template.h"
#include "data/chat/jinja/value.h"

namespace fttrain::jinja {
namespace {

using Json = nlohmann::ordered_json;

Json Failed(const absl::Status& status) {
  return {{"ok", false},
          {"code", absl::StatusCodeToString(status.code())},
          {"error", std::string(status.message())}};
}

// 2026-07-05 03:09:08, a Sunday.
std::tm Now() {
  std::tm now = {};
  now.tm_year = 126;
  now.tm_mon = 6;
  now.tm_mday = 5;
  now.tm_hour = 3;
  now.tm_min = 9;
  now.tm_sec = 8;
  std::mktime(&now);
  return now;
}

Json Answer(const Json& asked) {
  static std::map<std::string, absl::StatusOr<Template>> parsed;
  const std::string source = asked["template"];
  auto found = parsed.find(source);
  if (found == parsed.end()) {
    if (parsed.size() > 2000) parsed.clear();
    found = parsed.emplace(source, Template::Parse(source)).first;
  }
  if (!found->second.ok()) return Failed(found->second.status());
  std::map<std::string, std::string> variables;
  for (const auto& [name, value] : asked["variables"].items()) variables[name] = value.dump();
  const auto rendered = found->second->Render(variables, Now());
  if (!rendered.ok()) return Failed(rendered.status());
  Json spans = Json::array();
  for (const auto& span : rendered->generation) {
    spans.push_back({span.begin, span.end, span.captured});
  }
  return {{"ok", true}, {"text", rendered->text}, {"generation", spans}};
}

}  // namespace
}  // namespace fttrain::jinja

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << fttrain::jinja::Answer(nlohmann::ordered_json::parse(line)).dump() << std::endl;
  }
  return 0;
}
