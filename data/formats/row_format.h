// What the rows of a dataset file are.
#pragma once

namespace fttrain {

// What a row is. Strings are encoded with the tokenizer's post-processor (BOS), rendered
// conversations without. A key that would change what is learnt is read or refused by name (the
// table: keys.cc); what else a row has is counted (DatasetReport::unused). null, "", [], {} and
// these as text are as absent where a key is optional.
enum class RowFormat {
  kAuto,  // the one whose keys the first row has something under; DatasetReport says which
  // {"messages": [{"role": "user", "content": "..."}, ...]}, or the list under "conversations";
  // and, if there, "system" (the first turn), "tools", "documents" (lists, or JSON text). Loss on
  // the assistant's turns but those marked by weight, train, loss or mask (0 or false). Beside them
  // a turn may have tool_calls, tool_call_id, name and reasoning_content, which is also read as
  // reasoning, thinking or thought. Content: a string, text parts, null beside tool_calls.
  kMessages,
  // {"conversations": [{"from": "human", "value": "..."}, ...]} with the role words of all tools in
  // use (roles.cc), a mixture with the above too; null is the empty string. function_call turns
  // become tool_calls, those that follow each other one turn; otherwise as kMessages.
  kShareGpt,
  // {"prompt": P, "completion": C}: both strings, P perhaps empty, loss on C and the EOS put behind
  // it if it lacks one; or both lists of messages, loss on C's assistant turns.
  kPromptCompletion,
  // {"instruction", "output"} and, if there, "input", "system", "tools" and "history" (pairs),
  // made into messages.
  kAlpaca,
  // {"text": "..."}, EOS put behind it if it lacks one; loss on every token. One longer than
  // sequence_len becomes several examples: each begins with the token that the one before ends
  // with, so that every token is predicted once.
  kText,
  // {"input_ids": [...], "labels": [...]}, used as given; without labels every token is a target.
  // What attention_mask masks at either end is taken off.
  kTokens,
  // {"prompt", "chosen", "rejected"}, the latter left: as kPromptCompletion of prompt and chosen;
  // or a whole conversation in chosen, loss on the assistant turns behind its last user turn.
  kPreference,
};

// Members of DatasetOptions that rows of a format may ask for; of kAuto any.
struct FormatNeeds {
  bool tokenizer, chat;
};
FormatNeeds NeedsOf(RowFormat format);

// The word of data.train[].format.
const char* FormatName(RowFormat format);

}  // namespace fttrain
