// Where in a rendered conversation an assistant's turn begins and ends: behind the header that asks
// for it, and behind the token that ends it.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/renderer.h"
#include "data/chat/sightings.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

// Nothing but spaces, tabs and line ends.
bool IsWhiteSpace(std::string_view text);

// How a template ends turns, found on small conversations.
struct TurnEnds {
  std::string last, inner;  // the tokens that end the last turn, and one before others
  std::string tail;         // what the template writes behind the last answer
  std::string header;       // of an answer that is asked for
  bool asks = true;         // it writes the header of an answer to come
  bool tagged = false;      // its {% generation %} blocks say what is learnt
  bool asked_date = false;  // strftime_now was called
};

// InvalidArgument where what ends a turn is no token of the tokenizer.
absl::StatusOr<TurnEnds> FindTurnEnds(const Renderer& renderer, const Tokenizer& tokenizer);

// Borders of one conversation. A border shows where the conversation is rendered up to it: what the
// prompt of the turn writes behind the text before it, and what the turn that is the last writes
// behind its own, as far as the whole has the same. Between the same pieces of template text the
// border is at the same place, so that few of these renderings are needed; `remember` false makes
// one for each turn (tests compare the two).
class Borders {
 public:
  // All arguments must outlive *this.
  Borders(const Renderer& renderer, const TurnEnds& ends, const Conversation& conversation,
          const Rendering& whole, const Sightings& sightings, bool remember);

  // The part that the turn, an assistant's, adds to the text. NotFound if nothing of the turn is in
  // it; FailedPrecondition if other messages are written between its texts.
  absl::StatusOr<TextPart> Turn(size_t turn);

 private:
  // What stands in a text between two marks that follow each other.
  struct Gap {
    size_t begin, end;            // of the whole text
    const Marker::Found* before;  // the mark it begins behind; null: the start of the text
  };
  // A template may write the name of a call again with its result: such marks are left out.
  void KeepOwnMarks(size_t turn);
  absl::StatusOr<TextPart> Silent(size_t turn) const;
  size_t FindBegin(size_t turn, const Gap& gap) const;
  size_t BeginIn(size_t turn, const Gap& gap);
  size_t EndIn(size_t turn, const Gap& gap);
  std::string_view TextOf(const Gap& gap) const;
  // What stands behind the mark before the gap: of what is rendered before the turn, its prompt
  // asked for or not; of that and an answer without all but content, up to it.
  absl::StatusOr<std::string> Header(size_t turn, const Gap& gap, bool prompt) const;
  absl::StatusOr<std::string> PlainHeader(size_t turn, const Gap& gap) const;
  // Of the conversation that ends with the turn, what stands behind its last mark.
  absl::StatusOr<std::string> Tail(size_t turn) const;
  size_t TrailOf(const Gap& gap) const;
  std::string Shape(size_t turn) const;
  std::string KeyOf(size_t turn, const Gap& gap, size_t trail) const;

  const Renderer& renderer_;
  const TurnEnds& ends_;
  const Conversation& conversation_;
  const Rendering& whole_;
  const Sightings& sightings_;
  const bool remember_;
  std::vector<std::vector<size_t>> marks_;  // of each message, indices of sightings_.found()
  std::map<std::string, size_t> begins_, ends_at_;  // gap and shape -> bytes into the gap
};

}  // namespace fttrain
