#include "data/formats/examples.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/chat/dialog.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// A token over the border of a target is learnt if all that it covers is.
void UnlearnShared(const std::vector<SharedToken>& shared, const std::vector<ChatSegment>& segments,
                   Example* example, RowNotes* notes) {
  for (const SharedToken& token : shared) {
    bool learnt = false, not_learnt = false;
    for (int64_t s = token.first; s <= token.last; ++s) {
      const ChatSegment& part = segments[static_cast<size_t>(s)];
      if (!part.text.empty()) (part.target ? learnt : not_learnt) = true;
    }
    if (!not_learnt) continue;
    example->labels[static_cast<size_t>(token.index)] = kNoTarget;
    notes->straddling += learnt;
  }
}

// Ids of the segments joined; those of targets have labels.
absl::StatusOr<Example> Encode(const RowObject& row, const std::vector<ChatSegment>& segments,
                               bool add_special_tokens) {
  std::vector<std::string> texts;
  for (const ChatSegment& segment : segments) texts.push_back(segment.text);
  const RowContext& context = row.context();
  const Tokenizer& tokenizer = *context.options.tokenizer;
  auto encoded = tokenizer.EncodeSegments(texts, add_special_tokens);
  if (!encoded.ok()) return row.Error(encoded.status().message());
  Example example;
  example.source = row.where();
  example.input_ids = std::move(encoded->ids);
  example.labels.assign(example.input_ids.size(), kNoTarget);
  size_t begin = 0;
  for (size_t s = 0; s < segments.size(); ++s) {
    const size_t end = static_cast<size_t>(encoded->ends[s]);
    for (size_t i = begin; segments[s].target && i < end; ++i) {
      example.labels[i] = example.input_ids[i];
    }
    begin = end;
  }
  UnlearnShared(encoded->shared, segments, &example, context.notes);
  if (context.options.vocab_size > 0) {
    const absl::Status fits = CheckIdsFit(tokenizer, example.input_ids, context.options.vocab_size);
    if (!fits.ok()) return row.Error(fits.message());
  }
  if (example.input_ids.empty()) return row.Error("the row has no tokens");
  return example;
}

// `text` with the end-of-text token behind it, unless it has one.
absl::StatusOr<std::string> WithEos(const RowObject& row, std::string text) {
  const std::string eos = row.context().options.tokenizer->EosToken();
  if (eos.empty()) return row.Error("the tokenizer names no eos_token to end a text with");
  return text.ends_with(eos) ? text : text + eos;
}

// A conversation, once its turns say which of them are targets. `inverse`: everything is but those
// turns.
absl::StatusOr<Example> ExampleOf(const RowObject& row, const RowConversation& c, bool inverse) {
  const RowContext& context = row.context();
  absl::StatusOr<RenderedChat> rendered = context.options.chat->Render(c.conversation);
  if (!rendered.ok()) {
    return row.Error(absl::StrCat(rendered.status().message(), c.words.empty() ? "" : " (",
                                  absl::StrJoin(c.words, "; "), c.words.empty() ? "" : ")"));
  }
  context.notes->dropped_reasoning += rendered->dropped_reasoning;
  for (ChatSegment& segment : rendered->segments) segment.target ^= inverse;
  return Encode(row, rendered->segments, /*add_special_tokens=*/false);
}

// Notes a special token that a text of the conversation spells: of several in one text one that
// ends a turn.
void NoteSpecialText(const RowObject& row, const Conversation& conversation) {
  const Tokenizer& tokenizer = *row.context().options.tokenizer;
  std::string& note = row.context().notes->special_text;
  const auto end_of_turn = tokenizer.TokenToId(row.context().options.chat->end_of_turn());
  // Whether the template takes the conversation shows when it is rendered.
  ForEachText(conversation, [&](const TextPlace& place, const std::string& text) {
    bool ended = !note.empty();
    for (const int32_t id : tokenizer.AddedTokensIn(text)) {
      if (ended) break;
      ended = id == end_of_turn || id == tokenizer.EosId();
      if (!ended && (!note.empty() || !tokenizer.IsSpecialToken(id))) continue;
      const std::string where = place.message == kNoMessage
                                    ? std::string(place.key)
                                    : absl::StrCat("message ", place.message, " (",
                                                   conversation.messages[place.message].role, ")");
      note = absl::StrCat(where, " has ", Printable(tokenizer.IdToToken(id)),
                          ended ? ", where the turn ends for the model" : "");
    }
  });
}

std::vector<size_t> Learnt(const std::vector<Message>& turns) {
  std::vector<size_t> out;
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].learn) out.push_back(i);
  }
  return out;
}

}  // namespace

absl::StatusOr<std::vector<Example>> ExamplesOf(const RowObject& row,
                                                RowConversation conversation) {
  const DatasetOptions& options = row.context().options;
  if (options.chat == nullptr) return row.Error("a conversation needs a chat template");
  NoteSpecialText(row, conversation.conversation);
  std::vector<Message>& turns = conversation.conversation.messages;
  if (options.train_on == TrainOn::kPrompt) {
    for (Message& turn : turns) turn.learn = turn.role == "assistant" && !turn.learn;
    FT_ASSIGN_OR_RETURN(Example all, ExampleOf(row, conversation, /*inverse=*/true));
    return std::vector<Example>{std::move(all)};
  }
  std::vector<size_t> learnt = Learnt(turns);
  if (learnt.empty()) {
    const bool any = std::any_of(turns.begin(), turns.end(),
                                 [](const Message& turn) { return turn.role == "assistant"; });
    return row.Error(any ? "no assistant turn of the answer is to be learnt: all are marked not "
                           "to be, or none is there"
                         : "there is no assistant turn to learn from");
  }
  if (options.train_on == TrainOn::kLast) learnt = {learnt.back()};
  for (Message& turn : turns) turn.learn = false;
  std::vector<Example> out;
  if (options.turns == Turns::kWhole) {
    for (const size_t i : learnt) turns[i].learn = true;
    FT_ASSIGN_OR_RETURN(out.emplace_back(), ExampleOf(row, conversation, /*inverse=*/false));
    return out;
  }
  for (const size_t i : learnt) {
    RowConversation part = conversation;
    part.conversation.messages.resize(i + 1);
    part.conversation.messages[i].learn = true;
    FT_ASSIGN_OR_RETURN(out.emplace_back(), ExampleOf(row, part, /*inverse=*/false));
  }
  return out;
}

absl::StatusOr<std::vector<Example>> PairExamples(const RowObject& row, absl::string_view answer) {
  FT_ASSIGN_OR_RETURN(const std::string prompt, row.String("prompt"));
  FT_ASSIGN_OR_RETURN(const std::string text, row.String(answer));
  if (text.empty()) return row.Error(absl::StrCat(row.Key(answer), " is empty"));
  FT_ASSIGN_OR_RETURN(const std::string ended, WithEos(row, text));
  const bool all = row.context().options.train_on == TrainOn::kPrompt;
  FT_ASSIGN_OR_RETURN(Example example, Encode(row, {{prompt, all}, {ended, true}}, true));
  return std::vector<Example>{std::move(example)};
}

absl::StatusOr<std::vector<Example>> TextExamples(const RowObject& row) {
  FT_ASSIGN_OR_RETURN(const std::string text, row.String("text"));
  if (text.empty()) return row.Error(absl::StrCat(row.Key("text"), " is empty"));
  FT_ASSIGN_OR_RETURN(const std::string ended, WithEos(row, text));
  FT_ASSIGN_OR_RETURN(Example whole, Encode(row, {{ended, true}}, true));
  const size_t most = static_cast<size_t>(row.context().options.sequence_len);
  std::vector<Example> out;
  if (most == 0 || whole.input_ids.size() <= most) {
    out.push_back(std::move(whole));
    return out;
  }
  const size_t step = std::max<size_t>(most - 1, 1);
  const std::vector<int32_t>& ids = whole.input_ids;
  for (size_t begin = 0; begin + 1 < ids.size(); begin += step) {
    const size_t end = std::min(begin + most, ids.size());
    Example& piece = out.emplace_back();
    piece.source = row.where();
    piece.input_ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                           ids.begin() + static_cast<std::ptrdiff_t>(end));
    piece.labels = piece.input_ids;
  }
  row.context().notes->cut_texts = 1;
  row.context().notes->pieces = static_cast<int64_t>(out.size());
  return out;
}

}  // namespace fttrain
