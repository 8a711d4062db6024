#include "data/formats/turns.h"

#include <optional>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "data/formats/roles.h"
#include "data/formats/tool_calls.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr absl::string_view kLossFlags[] = {"weight", "train", "loss", "mask"};
// What turns call their reasoning; templates know the first.
constexpr absl::string_view kReasoning[] = {"reasoning_content", "reasoning", "thinking",
                                            "thought"};

// One message while it is taken apart.
class TurnReader {
 public:
  TurnReader(const RowObject& turn, const TurnList& how, OtherWords* words)
      : turn_(turn), how_(how), words_(words) {}

  absl::StatusOr<Message> Read() {
    if (!turn_.json().is_object()) {
      return turn_.Error(absl::StrCat("a message is a JSON object, not ", TypeOf(turn_.json())));
    }
    FT_RETURN_IF_ERROR(turn_.JudgeKeys(how_.forms, "messages[]."));
    FT_ASSIGN_OR_RETURN(const Role role, TurnRole());
    message_.role = role.name;
    calls_alone_ = role.calls;
    FT_RETURN_IF_ERROR(Learn());
    FT_RETURN_IF_ERROR(More());
    FT_RETURN_IF_ERROR(role.calls ? CallsInText() : Content());
    calls_alone_ &= message_.more.size() == 1;
    return std::move(message_);
  }
  // A function_call that brings nothing else.
  bool calls_alone() const { return calls_alone_; }

 private:
  bool IsAssistant() const { return message_.role == "assistant"; }

  // Of two keys for one thing, the one that the message has: `other` only in ShareGPT's form.
  absl::string_view Either(absl::string_view name, absl::string_view other) const {
    const bool there = how_.share_gpt && turn_.Find(other) != nullptr;
    return there && (turn_.Find(name) == nullptr || turn_.Find(name)->is_null()) ? other : name;
  }
  absl::Status Differ(absl::string_view a, absl::string_view b) const {
    return turn_.Error(absl::StrCat(turn_.Key(a), " and ", turn_.Key(b), " contradict each other"));
  }

  absl::StatusOr<Role> RoleIn(absl::string_view name) const {
    FT_ASSIGN_OR_RETURN(const std::string word, turn_.String(name));
    const absl::StatusOr<Role> role = RoleOf(word, how_.share_gpt);
    if (!role.ok()) return turn_.Error(role.status().message());
    return role;
  }
  absl::StatusOr<Role> TurnRole() const {
    if (!how_.share_gpt) {
      if (turn_.Find("role") == nullptr && turn_.json().contains("from")) {
        return turn_.Error("'from' in place of 'role' is format sharegpt: set it");
      }
      return RoleIn("role");
    }
    FT_ASSIGN_OR_RETURN(const Role role, RoleIn(Either("from", "role")));
    if (turn_.Something("from") != nullptr && turn_.Something("role") != nullptr) {
      FT_ASSIGN_OR_RETURN(const Role other, RoleIn("role"));
      if (other.name != role.name || other.calls != role.calls) return Differ("from", "role");
    }
    return role;
  }

  // Whether the turn is marked as to be learnt, or not.
  absl::StatusOr<std::optional<bool>> Marked() const {
    std::optional<bool> marked;
    absl::string_view by;
    for (const absl::string_view name : kLossFlags) {
      const RowJson* const value = turn_.Something(name);
      if (value == nullptr) continue;
      const bool flag = *value == RowJson(1) || *value == RowJson(true);
      if (!flag && *value != RowJson(0) && *value != RowJson(false)) {
        return turn_.Error(absl::StrCat(turn_.Key(name), " is ", Printable(value->dump()),
                                        ": a turn is learnt (1, true) or not (0, false)"));
      }
      if (marked.has_value() && *marked != flag) return Differ(by, name);
      marked = flag;
      by = name;
    }
    return marked;
  }
  absl::Status Learn() {
    FT_ASSIGN_OR_RETURN(const std::optional<bool> marked, Marked());
    const bool all = turn_.context().options.train_on == TrainOn::kPrompt;
    if (IsAssistant()) {
      message_.learn = marked.value_or(how_.learn);
      if (!message_.learn || how_.learn) return absl::OkStatus();
      return turn_.Error("the turn is marked to be learnt, but only those of the answer are");
    }
    if (!marked.has_value() || *marked == all) return absl::OkStatus();
    return turn_.Error(absl::StrCat("a turn of role ", message_.role, " is marked ",
                                    all ? "not to be learnt, but data.train_on is prompt"
                                        : "to be learnt, but only assistant turns are",
                                    ": take the mark out"));
  }

  // What a template sees beside role and content, in the row's order.
  absl::Status More() {
    for (const auto& [key, value] : turn_.json().items()) {
      if (IsNothing(value)) continue;
      const std::string name(turn_.context().names.NameOf(KeyLevel::kTurn, key));
      if (name == "tool_calls") {
        FT_RETURN_IF_ERROR(Calls());
      } else if (name == "tool_call_id" || name == "name" || name == "tool_name") {
        FT_ASSIGN_OR_RETURN(std::string text, turn_.String(name));
        FT_RETURN_IF_ERROR(Add(name, std::move(text)));
      } else if (absl::c_linear_search(kReasoning, name)) {
        FT_RETURN_IF_ERROR(Reasoning(name));
      }
    }
    return absl::OkStatus();
  }
  absl::Status Add(absl::string_view name, RowJson value) {
    FT_ASSIGN_OR_RETURN(jinja::Value made, TemplateValue(turn_, name, value));
    message_.more.emplace_back(name, std::move(made));
    return absl::OkStatus();
  }
  absl::Status OnlyAssistant(absl::string_view name) const {
    if (IsAssistant()) return absl::OkStatus();
    return turn_.Error(absl::StrCat(turn_.Key(name), " in a turn of role ", message_.role,
                                    ": only an assistant's turn has it"));
  }

  absl::Status Calls() {
    FT_RETURN_IF_ERROR(OnlyAssistant("tool_calls"));
    FT_ASSIGN_OR_RETURN(const RowJson calls, turn_.OptionalList("tool_calls"));
    return AddCalls("tool_calls", calls);
  }
  absl::Status AddCalls(absl::string_view name, const RowJson& calls) {
    FT_ASSIGN_OR_RETURN(std::vector<jinja::Value> values, ReadToolCalls(turn_, name, calls));
    if (values.empty()) return absl::OkStatus();
    message_.more.emplace_back("tool_calls", jinja::Value::List(std::move(values)));
    return absl::OkStatus();
  }
  // A function_call of ShareGPT: the text is a call's JSON, or that of a list of them.
  absl::Status CallsInText() {
    const absl::string_view name = Either("value", "content");
    FT_ASSIGN_OR_RETURN(const std::string text, turn_.String(name));
    if (turn_.Something("tool_calls") != nullptr) return Differ(name, "tool_calls");
    const absl::StatusOr<RowJson> parsed = ParseRowJson(text, turn_.Key(name));
    if (!parsed.ok() || IsNothing(*parsed) || !(parsed->is_object() || parsed->is_array())) {
      return turn_.Error(
          absl::StrCat("the text of a function_call is the JSON of one call, "
                       "{\"name\": ..., \"arguments\": {...}}, or of a list: ",
                       parsed.ok() ? TypeOf(*parsed) : parsed.status().message()));
    }
    message_.null_content = true;
    words_->insert("tool_calls is what the row has as function_call");
    return AddCalls(name, parsed->is_array() ? *parsed : RowJson::array({*parsed}));
  }

  absl::Status Reasoning(const std::string& name) {
    FT_RETURN_IF_ERROR(OnlyAssistant(name));
    FT_ASSIGN_OR_RETURN(std::string text, turn_.String(name));
    const std::string called(turn_.context().names.KeyOf(KeyLevel::kTurn, name));
    if (called != kReasoning[0]) {
      words_->insert(absl::StrCat(kReasoning[0], " is what the row has as ", Printable(called)));
    }
    if (!reasoning_.empty()) {
      if (text != turn_.Find(reasoning_)->get_ref<const std::string&>()) {
        return Differ(reasoning_, name);
      }
      return absl::OkStatus();
    }
    reasoning_ = name;
    return Add(kReasoning[0], std::move(text));
  }

  absl::Status Content() {
    const absl::string_view name = Either(how_.share_gpt ? "value" : "content", "content");
    const RowJson* const value = turn_.Find(name);
    const bool calls = turn_.Something("tool_calls") != nullptr;
    if (value == nullptr && !calls) return turn_.Get(name).status();
    if (value == nullptr || value->is_null() || (value->is_array() && value->empty())) {
      message_.null_content = calls;
      if (calls || how_.share_gpt) return absl::OkStatus();
      return turn_.Error(absl::StrCat(turn_.Key(name), " is ",
                                      value->is_null() ? "null" : "an empty list",
                                      " in a turn without tool_calls: write its text, or \"\""));
    }
    FT_ASSIGN_OR_RETURN(message_.content, TextOf(name, *value));
    if (!how_.share_gpt || name == "content" || turn_.Something("content") == nullptr) {
      return absl::OkStatus();
    }
    FT_ASSIGN_OR_RETURN(const std::string other, TextOf("content", *turn_.Find("content")));
    return other == message_.content ? absl::OkStatus() : Differ(name, "content");
  }

  // A string, or the texts of a list of parts, joined.
  absl::StatusOr<std::string> TextOf(absl::string_view name, const RowJson& value) const {
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_array()) {
      return turn_.WrongType(name, "a string or a list of text parts (JSON is written as text)",
                             value);
    }
    std::string text;
    for (size_t i = 0; i < value.size(); ++i) {
      FT_ASSIGN_OR_RETURN(const std::string words,
                          TextOfPart(absl::StrCat(turn_.Key(name), "[", i, "]: "), value[i]));
      text += words;
    }
    return text;
  }
  absl::StatusOr<std::string> TextOfPart(const std::string& place, const RowJson& part) const {
    const auto error = [&](absl::string_view what) {
      return turn_.Error(absl::StrCat(place, what));
    };
    if (!part.is_object()) {
      return error(
          absl::StrCat("a part of a text is an object, {\"type\": \"text\", \"text\": ...}, not ",
                       TypeOf(part)));
    }
    const RowJson type = part.value("type", RowJson());
    if (type != "text") {
      return error(absl::StrCat("a part of type ", Printable(type.dump()),
                                ": only parts of type \"text\" are trained: take it out"));
    }
    const RowJson words = part.value("text", RowJson());
    if (!words.is_string()) {
      return error(absl::StrCat("'text' must be a string, not ", TypeOf(words)));
    }
    for (const auto& [key, extra] : part.items()) {
      if (key == "type" || key == "text" || IsNothing(extra)) continue;
      const KeyFate fate = FateOf(KeyLevel::kTurn, key, how_.forms);
      if (fate.what == KeyFate::kRefused) {
        return error(absl::StrCat(Quoted(key), " is not supported: ", fate.remedy));
      }
      turn_.context().notes->unused.insert(absl::StrCat("messages[].content[].", Printable(key)));
    }
    return words.get<std::string>();
  }

  const RowObject& turn_;
  const TurnList& how_;
  OtherWords* words_;
  Message message_;
  bool calls_alone_ = false;
  std::string reasoning_;  // the name that brought it
};

// The calls of a function_call that follows another: an assistant makes them at once.
void AddCalls(const Message& turn, Message* before) {
  std::vector<jinja::Value> calls = before->more[0].second.items();
  const std::vector<jinja::Value>& more = turn.more[0].second.items();
  calls.insert(calls.end(), more.begin(), more.end());
  before->more[0].second = jinja::Value::List(std::move(calls));
}

}  // namespace

absl::StatusOr<std::vector<Message>> ReadTurns(const RowObject& row, const RowJson& list,
                                               const TurnList& how, OtherWords* words) {
  if (!list.is_array()) return row.WrongType(how.name, "a list of messages", list);
  if (list.empty()) return row.Error(absl::StrCat(row.Key(how.name), " is empty"));
  std::vector<Message> out;
  bool after_calls = false;
  for (size_t i = 0; i < list.size(); ++i) {
    const RowObject turn(list[i], absl::StrCat(row.where(), ": ", row.Key(how.name), "[", i, "]"),
                         KeyLevel::kTurn, row.context());
    TurnReader reader(turn, how, words);
    FT_ASSIGN_OR_RETURN(Message message, reader.Read());
    const bool joined = after_calls && reader.calls_alone() && out.back().learn == message.learn;
    after_calls = reader.calls_alone();
    if (joined) {
      AddCalls(message, &out.back());
      words->insert("calls that follow each other count as one message");
      continue;
    }
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace fttrain
