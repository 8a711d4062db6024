#include "data/formats/conversations.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "data/formats/tool_calls.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

class ConversationReader {
 public:
  ConversationReader(const RowObject& row, RowForm form) : row_(row), form_(form) {}

  absl::StatusOr<RowConversation> Read() {
    switch (form_) {
      case kMessagesForm:
      case kShareGptForm:
        FT_RETURN_IF_ERROR(Messages());
        break;
      case kPairTurnsForm:
        FT_RETURN_IF_ERROR(Pair());
        break;
      case kChosenTurnsForm:
        FT_RETURN_IF_ERROR(Chosen());
        break;
      case kAlpacaForm:
        FT_RETURN_IF_ERROR(Alpaca());
        break;
      default:
        FT_CHECK(false, "form ", static_cast<int>(form_), " has no turns");
    }
    FT_RETURN_IF_ERROR(System());
    FT_ASSIGN_OR_RETURN(out_.conversation.tools, Objects("tools"));
    FT_ASSIGN_OR_RETURN(out_.conversation.documents, Objects("documents"));
    return std::move(out_);
  }

 private:
  using Turns = std::vector<Message>;

  bool LearnPrompts() const { return row_.context().options.train_on == TrainOn::kPrompt; }

  absl::StatusOr<Turns> Read(absl::string_view name, const RowJson& list, bool learn) {
    const bool share_gpt = form_ == kShareGptForm || form_ == kChosenTurnsForm;
    return ReadTurns(row_, list, {name, form_, share_gpt, learn}, &out_.words);
  }

  absl::Status Messages() {
    const bool other = row_.Something("conversations") != nullptr;
    if (other && row_.Something("messages") != nullptr) {
      return row_.Error(absl::StrCat(row_.Key("messages"), " and ", row_.Key("conversations"),
                                     " both hold a conversation: keep one"));
    }
    const bool usual = form_ == kMessagesForm ? !other : row_.Something("messages") != nullptr;
    const absl::string_view name = usual ? "messages" : "conversations";
    FT_ASSIGN_OR_RETURN(const RowJson* const list, row_.Get(name));
    FT_ASSIGN_OR_RETURN(out_.conversation.messages, Read(name, *list, true));
    return absl::OkStatus();
  }

  absl::Status Pair() {
    FT_ASSIGN_OR_RETURN(const RowJson* const prompt, row_.Get("prompt"));
    FT_ASSIGN_OR_RETURN(const RowJson* const completion, row_.Get("completion"));
    if (prompt->is_string() || completion->is_string()) {
      return row_.Error(absl::StrCat(row_.Key("prompt"), " and ", row_.Key("completion"),
                                     " must both be strings or both be lists of messages"));
    }
    FT_ASSIGN_OR_RETURN(Turns turns, Read("prompt", *prompt, LearnPrompts()));
    FT_ASSIGN_OR_RETURN(const Turns answer, Read("completion", *completion, true));
    turns.insert(turns.end(), answer.begin(), answer.end());
    out_.conversation.messages = std::move(turns);
    return absl::OkStatus();
  }

  // What is chosen: the answer to a prompt, or a conversation, whose last answer it is.
  absl::Status Chosen() {
    FT_ASSIGN_OR_RETURN(const RowJson* const value, row_.Get("chosen"));
    const RowJson list = value->is_object() ? RowJson::array({*value}) : *value;
    FT_ASSIGN_OR_RETURN(Turns chosen, Read("chosen", list, true));
    const auto asked = std::find_if(chosen.rbegin(), chosen.rend(),
                                    [](const Message& turn) { return turn.role == "user"; });
    const bool whole = asked != chosen.rend();
    for (auto turn = asked; turn != chosen.rend() && !LearnPrompts(); ++turn) turn->learn = false;
    const RowJson* const prompt = row_.Something("prompt");
    if (prompt == nullptr && !whole) {
      return row_.Error(absl::StrCat("key ", row_.Key("prompt"), " is missing or empty, and ",
                                     row_.Key("chosen"), " has no user's turn"));
    }
    Turns& turns = out_.conversation.messages;
    if (prompt != nullptr) {
      FT_RETURN_IF_ERROR(AddPrompt(*prompt, whole, chosen));
    }
    turns.insert(turns.end(), chosen.begin(), chosen.end());
    return absl::OkStatus();
  }
  // `whole`: the chosen conversation must have the prompt in it. Else the prompt comes before it.
  absl::Status AddPrompt(const RowJson& prompt, bool whole, const Turns& chosen) {
    if (prompt.is_string() && !whole) {
      out_.conversation.messages = {{"user", prompt.get<std::string>()}};
      return absl::OkStatus();
    }
    bool found;
    if (prompt.is_string()) {
      found = std::any_of(chosen.begin(), chosen.end(), [&](const Message& turn) {
        return turn.role == "user" && turn.content == prompt.get_ref<const std::string&>();
      });
    } else {
      FT_ASSIGN_OR_RETURN(Turns turns, Read("prompt", prompt, LearnPrompts()));
      if (!whole) {
        out_.conversation.messages = std::move(turns);
        return absl::OkStatus();
      }
      found = turns.size() <= chosen.size() &&
              std::equal(turns.begin(), turns.end(), chosen.begin(),
                         [](const Message& a, const Message& b) {
                           return a.role == b.role && a.content == b.content;
                         });
    }
    if (found) return absl::OkStatus();
    return row_.Error(absl::StrCat("the conversation in ", row_.Key("chosen"), " has not ",
                                   row_.Key("prompt"), " in it: take one of them out"));
  }

  absl::Status Alpaca() {
    FT_ASSIGN_OR_RETURN(const std::string instruction, row_.String("instruction"));
    FT_ASSIGN_OR_RETURN(const std::string input, row_.OptionalString("input"));
    FT_ASSIGN_OR_RETURN(const std::string output, row_.String("output"));
    if (instruction.empty() && input.empty()) {
      return row_.Error(absl::StrCat(row_.Key("instruction"), " and ", row_.Key("input"),
                                     " are empty: there is no question"));
    }
    if (output.empty()) {
      return row_.Error(absl::StrCat(row_.Key("output"), " is empty: there is nothing to learn"));
    }
    FT_RETURN_IF_ERROR(History());
    const bool both = !instruction.empty() && !input.empty();
    Turns& turns = out_.conversation.messages;
    turns.push_back({"user", absl::StrCat(instruction, both ? "\n" : "", input)});
    turns.push_back({"assistant", output, true});
    return absl::OkStatus();
  }
  absl::Status History() {
    FT_ASSIGN_OR_RETURN(const RowJson history, row_.OptionalList("history"));
    for (size_t i = 0; i < history.size(); ++i) {
      const RowJson& pair = history[i];
      const bool strings =
          pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string();
      if (!strings) {
        return row_.Error(
            absl::StrCat(row_.Key("history"), "[", i, "] must be [question, answer], two strings"));
      }
      out_.conversation.messages.push_back({"user", pair[0].get<std::string>()});
      out_.conversation.messages.push_back({"assistant", pair[1].get<std::string>(), true});
    }
    return absl::OkStatus();
  }

  // A system prompt in a column of its own is the first turn.
  absl::Status System() {
    FT_ASSIGN_OR_RETURN(const std::string system, row_.OptionalString("system"));
    if (system.empty()) return absl::OkStatus();
    Turns& turns = out_.conversation.messages;
    const bool own = turns[0].role == "system" || turns[0].role == "developer";
    if (own && turns[0].content == system) return absl::OkStatus();
    if (own) {
      return row_.Error(absl::StrCat(row_.Key("system"), " and the ", turns[0].role,
                                     " turn contradict each other: keep one"));
    }
    turns.insert(turns.begin(), {"system", system});
    out_.words.insert(absl::StrCat("message 0 is the row's ", row_.Key("system")));
    return absl::OkStatus();
  }

  // A list of objects for the template, each perhaps as JSON text.
  absl::StatusOr<std::vector<jinja::Value>> Objects(absl::string_view name) {
    FT_ASSIGN_OR_RETURN(const RowJson list, row_.OptionalList(name));
    std::vector<jinja::Value> out;
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string place = absl::StrCat(row_.where(), ": ", row_.Key(name), "[", i, "]");
      RowJson item = list[i];
      if (item.is_string()) {
        FT_ASSIGN_OR_RETURN(item, ParseRowJson(item.get<std::string>(), place));
      }
      if (!item.is_object()) {
        return absl::InvalidArgumentError(
            absl::StrCat(place, " must be an object, not ", TypeOf(item)));
      }
      FT_ASSIGN_OR_RETURN(jinja::Value value, TemplateValue(row_, name, item));
      out.push_back(std::move(value));
    }
    return out;
  }

  const RowObject& row_;
  RowForm form_;
  RowConversation out_;
};

}  // namespace

RowForm FormOf(const RowObject& row, RowFormat format) {
  const auto strings = [&](absl::string_view name) {
    const RowJson* const value = row.Find(name);
    return value == nullptr || !value->is_structured();
  };
  if (format == RowFormat::kPromptCompletion) {
    return strings("prompt") && strings("completion") ? kPairForm : kPairTurnsForm;
  }
  if (format == RowFormat::kPreference) return strings("chosen") ? kChosenForm : kChosenTurnsForm;
  return static_cast<RowForm>(FormsOf(format));
}

absl::StatusOr<RowConversation> ConversationOf(const RowObject& row, RowForm form) {
  return ConversationReader(row, form).Read();
}

}  // namespace fttrain
