// What of a rendered conversation is to be learnt, and that nothing of it is missing: found by
// rendering it again with marks in it, or less of it.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/borders.h"
#include "data/chat/conversation.h"
#include "data/chat/renderer.h"
#include "data/chat/sightings.h"

namespace fttrain {

struct Targets {
  std::vector<TextPart> parts;  // in order, apart
  int dropped_reasoning = 0;    // turns whose reasoning stands in the text only when they are last
};

// `whole` is the conversation as it is rendered. Errors: Render() in template.h. `remember`:
// Borders.
absl::StatusOr<Targets> FindTargets(const Renderer& renderer, const TurnEnds& ends,
                                    const Conversation& conversation, const Rendering& whole,
                                    bool remember = true);

// InvalidArgument, naming the message and the key, where the template leaves something out. Returns
// Targets::dropped_reasoning.
absl::StatusOr<int> CheckNothingIsLeftOut(const Renderer& renderer,
                                          const Conversation& conversation,
                                          const Sightings& sightings);

absl::Status AnswerNotFound(const Renderer& renderer, size_t turn);

}  // namespace fttrain
