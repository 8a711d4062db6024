// A conversation as a row has it and as a chat template is given it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/chat/jinja/value.h"

namespace fttrain {

// One turn. A template sees a dict of role, content and `more`, in that order, as transformers 5
// hands it over (dialog.h).
struct Message {
  std::string role;  // system | developer | user | assistant | tool
  std::string content;
  bool learn = false;         // loss on this turn; only ever set for assistant turns
  bool null_content = false;  // no content: a turn that calls tools need not say anything
  // What else it brings, in the row's order, as transformers passes it: tool_calls (arguments an
  // object), tool_call_id, name, reasoning_content, ... Every text in it must be in what the
  // template writes, but those under id, index, name, tool_call_id, tool_name and type.
  std::vector<std::pair<std::string, jinja::Value>> more = {};
};

struct Conversation {
  std::vector<Message> messages = {};
  std::vector<jinja::Value> tools = {};      // none: the template is told none
  std::vector<jinja::Value> documents = {};  // likewise
};

}  // namespace fttrain
