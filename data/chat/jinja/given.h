// What a template is given, by name. Include in .cc files only.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/chat/jinja/value.h"

namespace fttrain::jinja {

struct Given {
  // Of all renderings, perhaps of several threads at once; must outlive them.
  const std::map<std::string, Value>& shared;
  // Of this rendering: few. Of a name that is in both, these count.
  std::vector<std::pair<std::string_view, Value>> own = {};

  std::optional<Value> Find(const std::string& name) const {
    for (const auto& [key, value] : own) {
      if (key == name) return value;
    }
    const auto found = shared.find(name);
    return found == shared.end() ? std::nullopt : std::optional<Value>(found->second.Borrowed());
  }
};

}  // namespace fttrain::jinja
