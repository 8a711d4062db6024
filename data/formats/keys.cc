#include "data/formats/keys.h"

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr unsigned kStrings = kPairForm | kChosenForm;
constexpr unsigned kPairs = kPairForm | kPairTurnsForm;
constexpr unsigned kChosen = kChosenForm | kChosenTurnsForm;
constexpr unsigned kTurns =
    kMessagesForm | kShareGptForm | kPairTurnsForm | kAlpacaForm | kChosenTurnsForm;
constexpr unsigned kAnswers = kTurns | kStrings;  // all that have something like an answer
constexpr unsigned kAll = kAnswers | kTextForm | kTokensForm;

struct Key {
  absl::string_view key;
  unsigned read;     // by these forms
  unsigned refused;  // by these; else unused
  const char* remedy;
  const char* harmless = "";
};

constexpr const char* kOnlyText = "only text is trained: take it out";
constexpr const char* kOldTools =
    "the old form of tools: write {\"type\": \"function\", \"function\": {...}} into 'tools'";
constexpr const char* kNoSteering =
    "a row cannot steer the chat template: take it out; data.chat_template holds for all rows";
constexpr const char* kNoRequest = "what a request asks for is not rendered: take it out";
constexpr const char* kJudged =
    "rows marked as good or bad are not told apart: keep the good ones and take it out";
constexpr const char* kPair =
    "of pairs of answers format preference learns the chosen one: set it, or take this out";
constexpr const char* kNoWeights = "all targets count the same: take it out";
constexpr const char* kSayWeight = "which turns are learnt is said at the turn: weight: 0 or 1";
constexpr const char* kSayTrainOn = "data.train_on says it for all rows: take it out";
constexpr const char* kSayLabels =
    "what is learnt is said by 'labels', -100 where nothing is: write it there";
constexpr const char* kMapSystem =
    "a system prompt under another name: fields: {system: NAME} reads it";
constexpr const char* kNoTurns =
    "strings have no place for it: write prompt and answer as lists of messages";
constexpr const char* kReasoningInTurn =
    "reasoning is learnt as a part of its turn: write it there as reasoning_content";
constexpr const char* kPacked = "rows that are packed already are not unpacked: one text a row";
constexpr const char* kContext =
    "text that goes with the question: write it there (alpaca: fields: {input: NAME}) or take it "
    "out";
constexpr const char* kEarlier = "earlier turns: write them into the conversation";

constexpr Key kRowKeys[] = {
    {"messages", kMessagesForm | kShareGptForm, 0, ""},
    {"conversations", kMessagesForm | kShareGptForm, 0, ""},
    {"prompt", kPairs | kChosen, 0, ""},
    {"completion", kPairs, 0, ""},
    {"chosen", kChosen, kAnswers, kPair},
    {"rejected", kChosen, kAnswers, kPair},
    {"instruction", kAlpacaForm, 0, ""},
    {"input", kAlpacaForm, kStrings, kContext},
    {"output", kAlpacaForm, 0, ""},
    {"history", kAlpacaForm, kAnswers, kEarlier},
    {"text", kTextForm, 0, ""},
    {"input_ids", kTokensForm, 0, ""},
    {"labels", kTokensForm, 0, ""},
    {"attention_mask", kTokensForm, 0, ""},
    {"position_ids", kTokensForm, 0, ""},
    {"token_type_ids", kTokensForm, 0, ""},
    {"length", kTokensForm, 0, ""},
    {"system", kTurns, kStrings, kNoTurns},
    {"tools", kTurns, kStrings, kNoTurns},
    {"documents", kTurns, kStrings, kNoTurns},
    {"functions", 0, kAnswers, kOldTools},
    {"function_call", 0, kAnswers, kNoRequest},
    {"system_prompt", 0, kAnswers, kMapSystem},
    {"system_message", 0, kAnswers, kMapSystem},
    {"sys_prompt", 0, kAnswers, kMapSystem},
    {"context", 0, kAlpacaForm | kStrings, kContext},
    {"reasoning", 0, kAnswers, kReasoningInTurn},
    {"reasoning_content", 0, kAnswers, kReasoningInTurn},
    {"thinking", 0, kAnswers, kReasoningInTurn, "false"},
    {"chain_of_thought", 0, kAnswers, kReasoningInTurn},
    {"image", 0, kAll, kOnlyText},
    {"images", 0, kAll, kOnlyText},
    {"video", 0, kAll, kOnlyText},
    {"videos", 0, kAll, kOnlyText},
    {"audio", 0, kAll, kOnlyText},
    {"audios", 0, kAll, kOnlyText},
    {"pixel_values", 0, kAll, kOnlyText},
    {"chat_template", 0, kTurns, kNoSteering},
    {"chat_template_kwargs", 0, kTurns, kNoSteering},
    {"enable_thinking", 0, kTurns, kNoSteering},
    {"reasoning_effort", 0, kTurns, kNoSteering},
    {"thinking_budget", 0, kTurns, kNoSteering},
    {"builtin_tools", 0, kTurns, kNoSteering},
    {"tools_in_user_message", 0, kTurns, kNoSteering},
    {"add_generation_prompt", 0, kTurns, kNoSteering, "false"},
    {"continue_final_message", 0, kTurns, kNoSteering, "false"},
    {"tool_choice", 0, kTurns, kNoRequest},
    {"parallel_tool_calls", 0, kTurns, kNoRequest},
    {"response_format", 0, kTurns, kNoRequest},
    {"label", 0, kAnswers, kJudged},
    {"kto_tag", 0, kAnswers, kJudged},
    {"rejected_response", 0, kAnswers, kPair},
    {"rejected_messages", 0, kAnswers, kPair},
    {"suffix", 0, kStrings, "text behind the completion is not read: take it out"},
    {"weight", 0, kAll, kNoWeights, "1"},
    {"sample_weight", 0, kAll, kNoWeights, "1"},
    {"loss_weight", 0, kAll, kNoWeights, "1"},
    {"loss_weights", 0, kAll, kNoWeights},
    {"loss_scale", 0, kAll, kNoWeights, "1"},
    {"loss_multiplier", 0, kAll, kNoWeights, "1"},
    {"train", 0, kTurns, kSayWeight, "true"},
    {"mask", 0, kTurns, kSayWeight},
    {"loss_mask", 0, kAll, kSayLabels},
    {"completion_mask", 0, kAll, kSayLabels},
    {"prompt_mask", 0, kAll, kSayLabels},
    {"assistant_mask", 0, kAll, kSayLabels},
    {"assistant_masks", 0, kAll, kSayLabels},
    {"prompt_length", 0, kTokensForm, kSayLabels},
    {"prompt_len", 0, kTokensForm, kSayLabels},
    {"train_on_input", 0, kAnswers, kSayTrainOn, "false"},
    {"train_on_inputs", 0, kAnswers, kSayTrainOn, "false"},
    {"train_on_prompt", 0, kAnswers, kSayTrainOn, "false"},
    {"mask_history", 0, kAnswers, kSayTrainOn, "false"},
    {"roles_to_train", 0, kAnswers, kSayTrainOn},
    {"seq_lens", 0, kTokensForm, kPacked},
    {"seq_lengths", 0, kTokensForm, kPacked},
    {"cu_seqlens", 0, kTokensForm, kPacked},
    {"seq_idx", 0, kTokensForm, kPacked},
    {"segment_ids", 0, kTokensForm, kPacked},
    {"sequence_ids", 0, kTokensForm, kPacked},
    {"document_ids", 0, kTokensForm, kPacked},
    {"inputs_embeds", 0, kTokensForm, "tokens are read by their ids alone: take it out"},
    {"decoder_input_ids", 0, kTokensForm, "there is no decoder of its own: take it out"},
};

constexpr unsigned kFromForms = kShareGptForm | kChosenTurnsForm;
constexpr const char* kSayReasoning =
    "write what is learnt of it as reasoning_content, or take it out";
constexpr const char* kSayContent =
    "write what of it belongs to the text into the content, or take it out";
constexpr const char* kToolsInRow = "tools are a key of the row: write them there";

constexpr Key kTurnKeys[] = {
    {"role", kTurns, 0, ""},
    {"content", kTurns, 0, ""},
    {"from", kFromForms, 0, ""},
    {"value", kFromForms, 0, ""},
    {"tool_calls", kTurns, 0, ""},
    {"tool_call_id", kTurns, 0, ""},
    {"name", kTurns, 0, ""},
    {"tool_name", kTurns, 0, ""},
    {"reasoning_content", kTurns, 0, ""},
    {"reasoning", kTurns, 0, ""},
    {"thinking", kTurns, 0, ""},
    {"thought", kTurns, 0, ""},
    {"weight", kTurns, 0, ""},
    {"train", kTurns, 0, ""},
    {"loss", kTurns, 0, ""},
    {"mask", kTurns, 0, ""},
    {"function_call", 0, kTurns,
     "the old form of a call: write tool_calls: [{\"type\": \"function\", \"function\": {...}}]"},
    {"functions", 0, kTurns, kToolsInRow},
    {"tools", 0, kTurns, kToolsInRow},
    {"documents", 0, kTurns, "documents are a key of the row: write them there"},
    {"loss_mask", 0, kTurns, kSayWeight},
    {"loss_scale", 0, kTurns, kSayWeight, "1"},
    {"loss_weight", 0, kTurns, kSayWeight, "1"},
    {"loss_multiplier", 0, kTurns, kSayWeight, "1"},
    {"training", 0, kTurns, kSayWeight},
    {"trainable", 0, kTurns, kSayWeight},
    {"train_detail", 0, kTurns, kSayWeight},
    {"training_detail", 0, kTurns, kSayWeight},
    {"masked", 0, kTurns, kSayWeight, "false"},
    {"is_masked", 0, kTurns, kSayWeight, "false"},
    {"ignore", 0, kTurns, kSayWeight, "false"},
    {"label", 0, kTurns, kJudged},
    {"image", 0, kTurns, kOnlyText},
    {"images", 0, kTurns, kOnlyText},
    {"image_url", 0, kTurns, kOnlyText},
    {"video", 0, kTurns, kOnlyText},
    {"videos", 0, kTurns, kOnlyText},
    {"audio", 0, kTurns, kOnlyText},
    {"audios", 0, kTurns, kOnlyText},
    {"reasoning_details", 0, kTurns, kSayReasoning},
    {"thinking_blocks", 0, kTurns, kSayReasoning},
    {"chain_of_thought", 0, kTurns, kSayReasoning},
    {"cot", 0, kTurns, kSayReasoning},
    {"rationale", 0, kTurns, kSayReasoning},
    {"analysis", 0, kTurns, kSayReasoning},
    {"thoughts", 0, kTurns, kSayReasoning},
    {"tool_plan", 0, kTurns, kSayContent},
    {"tool_results", 0, kTurns, kSayContent},
    {"tool_responses", 0, kTurns, kSayContent},
    {"refusal", 0, kTurns, kSayContent},
    {"parts", 0, kTurns, kSayContent},
    {"channel", 0, kTurns, kSayContent},
    {"recipient", 0, kTurns, kSayContent},
    {"prefix", 0, kTurns, kSayContent, "false"},
    {"partial", 0, kTurns, kSayContent, "false"},
    {"prefill", 0, kTurns, kSayContent, "false"},
};

absl::Span<const Key> TableOf(KeyLevel level) {
  return level == KeyLevel::kRow ? absl::MakeConstSpan(kRowKeys) : absl::MakeConstSpan(kTurnKeys);
}

using Index = absl::flat_hash_map<absl::string_view, const Key*>;

Index IndexOf(KeyLevel level) {
  Index index;
  for (const Key& k : TableOf(level)) FT_CHECK(index.emplace(k.key, &k).second, k.key);
  return index;
}

const Key* Find(KeyLevel level, absl::string_view key) {
  static const auto* const rows = new Index(IndexOf(KeyLevel::kRow));
  static const auto* const turns = new Index(IndexOf(KeyLevel::kTurn));
  const Index& index = level == KeyLevel::kRow ? *rows : *turns;
  const auto found = index.find(key);
  return found == index.end() ? nullptr : found->second;
}

}  // namespace

unsigned FormsOf(RowFormat format) {
  switch (format) {
    case RowFormat::kAuto:
      return kAll;
    case RowFormat::kMessages:
      return kMessagesForm;
    case RowFormat::kShareGpt:
      return kShareGptForm;
    case RowFormat::kPromptCompletion:
      return kPairs;
    case RowFormat::kAlpaca:
      return kAlpacaForm;
    case RowFormat::kText:
      return kTextForm;
    case RowFormat::kTokens:
      return kTokensForm;
    case RowFormat::kPreference:
      return kChosen;
  }
  return 0;
}

KeyFate FateOf(KeyLevel level, absl::string_view key, unsigned forms) {
  const Key* const found = Find(level, key);
  if (found == nullptr) return {};
  if ((found->read & forms) != 0) return {KeyFate::kRead, "", ""};
  if ((found->refused & forms) != 0) return {KeyFate::kRefused, found->remedy, found->harmless};
  return {};
}

std::vector<std::string> KeysRead(KeyLevel level, unsigned forms) {
  std::vector<std::string> out;
  for (const Key& key : TableOf(level)) {
    if ((key.read & forms) != 0) out.emplace_back(key.key);
  }
  return out;
}

}  // namespace fttrain
