#include "data/formats/row_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// One row while it is taken apart; every error names the row.
class RowReader {
 public:
  RowReader(const nlohmann::json& row, const DatasetOptions& options, const std::string& source)
      : row_(row), options_(options), source_(source) {}

  struct Format {
    RowFormat format;
    const char* name;
    FormatNeeds needs;
    absl::Status (RowReader::*read)(Example* example) const;
  };
  static const Format& FormatOf(RowFormat format) {
    static constexpr Format kFormats[] = {
        {RowFormat::kMessages, "messages", {true, true}, &RowReader::MessagesRow},
        {RowFormat::kPromptCompletion,
         "prompt_completion",
         {true, true},
         &RowReader::PromptCompletion},
        {RowFormat::kAlpaca, "alpaca", {true, true}, &RowReader::Alpaca},
        {RowFormat::kText, "text", {true, false}, &RowReader::Text},
        {RowFormat::kTokens, "tokens", {false, false}, &RowReader::Tokens},
    };
    const Format* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                       [&](const Format& f) { return f.format == format; });
    FT_CHECK(found != std::end(kFormats), "row format ", static_cast<int>(format));
    return *found;
  }

  absl::StatusOr<Example> Read(RowFormat format) const {
    if (!row_.is_object()) return Error(absl::StrCat("a row is a JSON object, not ", Type(row_)));
    Example example;
    example.source = source_;
    FT_RETURN_IF_ERROR((this->*FormatOf(format).read)(&example));
    FT_RETURN_IF_ERROR(CheckIds(example.input_ids, "input_ids"));
    if (example.input_ids.empty()) return Error("the row has no tokens");
    return example;
  }

 private:
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(source_, ": ", what));
  }
  static std::string Type(const nlohmann::json& value) {
    return value.is_number_float() ? "a number with a fraction" : value.type_name();
  }

  absl::StatusOr<const nlohmann::json*> Find(const nlohmann::json& object, const char* key) const {
    const auto it = object.find(key);
    if (it == object.end()) return Error(absl::StrCat("key '", key, "' is missing"));
    return &*it;
  }
  absl::StatusOr<std::string> String(const nlohmann::json& object, const char* key) const {
    FT_ASSIGN_OR_RETURN(const nlohmann::json* const value, Find(object, key));
    if (!value->is_string()) {
      return Error(absl::StrCat("'", key, "' must be a string, not ", Type(*value)));
    }
    return value->get_ref<const std::string&>();
  }
  // Absent and null are the empty string.
  absl::StatusOr<std::string> OptionalString(const nlohmann::json& object, const char* key) const {
    const auto it = object.find(key);
    if (it == object.end() || it->is_null()) return std::string();
    return String(object, key);
  }

  absl::StatusOr<std::vector<int32_t>> Ids(const char* key) const {
    FT_ASSIGN_OR_RETURN(const nlohmann::json* const list, Find(row_, key));
    if (!list->is_array())
      return Error(absl::StrCat("'", key, "' must be a list, not ", Type(*list)));
    std::vector<int32_t> out;
    out.reserve(list->size());
    for (size_t i = 0; i < list->size(); ++i) {
      const nlohmann::json& value = (*list)[i];
      if (!value.is_number_integer()) {
        return Error(absl::StrCat("'", key, "'[", i, "] must be an integer, not ", Type(value)));
      }
      const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= INT32_MAX
                                                   : value.get<int64_t>() >= INT32_MIN;
      if (!fits)
        return Error(absl::StrCat("'", key, "'[", i, "] is ", value.dump(), ", beyond 32 bits"));
      out.push_back(value.get<int32_t>());
    }
    return out;
  }

  absl::Status CheckIds(const std::vector<int32_t>& ids, const char* key) const {
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool high = options_.vocab_size > 0 && ids[i] >= options_.vocab_size;
      if (ids[i] >= 0 && !high) continue;
      return Error(absl::StrCat("'", key, "'[", i, "] is ", ids[i], ", not in [0, ",
                                options_.vocab_size, ")"));
    }
    return absl::OkStatus();
  }

  absl::Status Tokens(Example* example) const {
    FT_ASSIGN_OR_RETURN(example->input_ids, Ids("input_ids"));
    if (!row_.contains("labels")) {
      example->labels = example->input_ids;
      return absl::OkStatus();
    }
    FT_ASSIGN_OR_RETURN(example->labels, Ids("labels"));
    if (example->labels.size() != example->input_ids.size()) {
      return Error(absl::StrCat("'labels' has ", example->labels.size(),
                                " entries and 'input_ids' ", example->input_ids.size()));
    }
    for (size_t i = 0; i < example->labels.size(); ++i) {
      const int32_t label = example->labels[i];
      const bool high = options_.vocab_size > 0 && label >= options_.vocab_size;
      if (label == kNoTarget || (label >= 0 && !high)) continue;
      return Error(absl::StrCat("'labels'[", i, "] is ", label, ", neither ", kNoTarget,
                                " nor in [0, ", options_.vocab_size, ")"));
    }
    return absl::OkStatus();
  }

  // `text` with the end-of-text token behind it, unless it has one.
  absl::StatusOr<std::string> WithEos(std::string text) const {
    const std::string eos = options_.tokenizer->EosToken();
    if (eos.empty()) return Error("the tokenizer names no eos_token to end a text with");
    return text.ends_with(eos) ? text : text + eos;
  }

  absl::Status Text(Example* example) const {
    FT_ASSIGN_OR_RETURN(const std::string text, String(row_, "text"));
    if (text.empty()) return Error("'text' is empty");
    FT_ASSIGN_OR_RETURN(const std::string whole, WithEos(text));
    return Encode({{whole, true}}, true, example);
  }

  absl::Status PromptCompletion(Example* example) const {
    FT_ASSIGN_OR_RETURN(const nlohmann::json* const prompt, Find(row_, "prompt"));
    FT_ASSIGN_OR_RETURN(const nlohmann::json* const completion, Find(row_, "completion"));
    if (prompt->is_array() && completion->is_array()) {
      FT_ASSIGN_OR_RETURN(std::vector<Message> messages, Messages(*prompt, "prompt", false));
      FT_ASSIGN_OR_RETURN(const std::vector<Message> answer,
                          Messages(*completion, "completion", true));
      messages.insert(messages.end(), answer.begin(), answer.end());
      return Conversation(messages, example);
    }
    if (prompt->is_array() != completion->is_array()) {
      return Error("'prompt' and 'completion' must both be strings or both be lists of messages");
    }
    FT_ASSIGN_OR_RETURN(const std::string question, String(row_, "prompt"));
    FT_ASSIGN_OR_RETURN(const std::string answer, String(row_, "completion"));
    if (answer.empty()) return Error("'completion' is empty");
    FT_ASSIGN_OR_RETURN(const std::string ended, WithEos(answer));
    return Encode({{question, false}, {ended, true}}, true, example);
  }

  absl::Status MessagesRow(Example* example) const {
    FT_ASSIGN_OR_RETURN(const nlohmann::json* const list, Find(row_, "messages"));
    if (row_.contains("tools") && !row_["tools"].empty()) return Error("'tools' is not supported");
    FT_ASSIGN_OR_RETURN(const std::vector<Message> messages, Messages(*list, "messages", true));
    return Conversation(messages, example);
  }

  absl::StatusOr<std::vector<Message>> Messages(const nlohmann::json& list, const char* key,
                                                bool learn) const {
    if (!list.is_array()) {
      return Error(absl::StrCat("'", key, "' must be a list of messages, not ", Type(list)));
    }
    if (list.empty()) return Error(absl::StrCat("'", key, "' is empty"));
    std::vector<Message> out;
    for (size_t i = 0; i < list.size(); ++i) {
      const RowReader inner(list[i], options_, absl::StrCat(source_, ": '", key, "'[", i, "]"));
      FT_ASSIGN_OR_RETURN(Message message, inner.OneMessage());
      message.learn = learn && message.role == "assistant";
      out.push_back(std::move(message));
    }
    return out;
  }

  absl::StatusOr<Message> OneMessage() const {
    if (!row_.is_object())
      return Error(absl::StrCat("a message is a JSON object, not ", Type(row_)));
    Message message;
    FT_ASSIGN_OR_RETURN(message.role, String(row_, "role"));
    constexpr const char* kRoles[] = {"system", "developer", "user", "assistant", "tool"};
    if (std::find(std::begin(kRoles), std::end(kRoles), message.role) == std::end(kRoles)) {
      return Error(absl::StrCat("role '", message.role, "' is none of ",
                                absl::StrJoin(kRoles, ", "), ": rename it"));
    }
    for (const auto& [key, value] : row_.items()) {
      const bool empty =
          value.empty() || (value.is_string() && value.get_ref<const std::string&>().empty());
      if (key == "role" || key == "content" || empty) continue;
      return Error(absl::StrCat("'", key,
                                "' is not supported in a message: take it out, or write "
                                "what of it belongs to the text into 'content'"));
    }
    FT_ASSIGN_OR_RETURN(message.content, String(row_, "content"));
    return message;
  }

  absl::Status Alpaca(Example* example) const {
    FT_ASSIGN_OR_RETURN(const std::string instruction, String(row_, "instruction"));
    FT_ASSIGN_OR_RETURN(const std::string input, OptionalString(row_, "input"));
    FT_ASSIGN_OR_RETURN(const std::string output, String(row_, "output"));
    FT_ASSIGN_OR_RETURN(const std::string system, OptionalString(row_, "system"));
    if (instruction.empty() && input.empty()) return Error("'instruction' and 'input' are empty");
    if (output.empty()) return Error("'output' is empty");
    std::vector<Message> messages;
    if (!system.empty()) messages.push_back({"system", system});
    if (row_.contains("history") && !row_["history"].is_null()) {
      FT_RETURN_IF_ERROR(History(row_["history"], &messages));
    }
    const bool both = !instruction.empty() && !input.empty();
    messages.push_back({"user", absl::StrCat(instruction, both ? "\n" : "", input)});
    messages.push_back({"assistant", output, true});
    return Conversation(messages, example);
  }

  absl::Status History(const nlohmann::json& history, std::vector<Message>* messages) const {
    if (!history.is_array()) {
      return Error(absl::StrCat("'history' must be a list, not ", Type(history)));
    }
    for (size_t i = 0; i < history.size(); ++i) {
      const nlohmann::json& pair = history[i];
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
        return Error(absl::StrCat("'history'[", i, "] must be [question, answer]"));
      }
      messages->push_back({"user", pair[0].get_ref<const std::string&>()});
      messages->push_back({"assistant", pair[1].get_ref<const std::string&>(), true});
    }
    return absl::OkStatus();
  }

  absl::Status Conversation(const std::vector<Message>& messages, Example* example) const {
    if (options_.chat == nullptr) return Error("a conversation needs a chat template");
    const bool any =
        std::any_of(messages.begin(), messages.end(), [](const Message& m) { return m.learn; });
    if (!any) return Error("there is no assistant turn to learn from");
    const auto segments = options_.chat->Render(messages);
    if (!segments.ok()) return Error(segments.status().message());
    return Encode(*segments, false, example);
  }

  absl::Status Encode(const std::vector<ChatSegment>& segments, bool add_special_tokens,
                      Example* example) const {
    std::vector<std::string> texts;
    for (const ChatSegment& segment : segments) texts.push_back(segment.text);
    auto encoded = options_.tokenizer->EncodeSegments(texts, add_special_tokens);
    if (!encoded.ok()) return Error(encoded.status().message());
    if (options_.vocab_size > 0) {
      const absl::Status fits = CheckIdsFit(*options_.tokenizer, encoded->ids, options_.vocab_size);
      if (!fits.ok()) return Error(fits.message());
    }
    example->input_ids = std::move(encoded->ids);
    example->labels.assign(example->input_ids.size(), kNoTarget);
    size_t begin = 0;
    for (size_t s = 0; s < segments.size(); ++s) {
      const size_t end = static_cast<size_t>(encoded->ends[s]);
      for (size_t i = begin; segments[s].target && i < end; ++i) {
        example->labels[i] = example->input_ids[i];
      }
      begin = end;
    }
    for (const SharedToken& token : encoded->shared) {  // learnt if all that it covers is
      for (int64_t s = token.first; s <= token.last; ++s) {
        const ChatSegment& part = segments[static_cast<size_t>(s)];
        if (!part.target && !part.text.empty())
          example->labels[static_cast<size_t>(token.index)] = kNoTarget;
      }
    }
    return absl::OkStatus();
  }

  const nlohmann::json& row_;
  const DatasetOptions& options_;
  std::string source_;
};

}  // namespace

FormatNeeds NeedsOf(RowFormat format) { return RowReader::FormatOf(format).needs; }

absl::StatusOr<Example> ReadRow(const SourceRow& row, RowFormat format,
                                const DatasetOptions& options) {
  const RowReader::Format& reader = RowReader::FormatOf(format);
  if (reader.needs.tokenizer && options.tokenizer == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("data format '", reader.name, "' needs a tokenizer"));
  }
  return RowReader(row.value, options, row.where).Read(format);
}

}  // namespace fttrain
