#include "data/chat/targets.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// The template's {% generation %} blocks of each turn.
class Blocks {
 public:
  // A block is that of the answer whose text stands in it; without any, of the answer before it or,
  // if another message is, of the next one.
  Blocks(const Renderer& renderer, const Conversation& conversation, const Rendering& whole,
         const Sightings& sightings)
      : renderer_(renderer), blocks_(conversation.messages.size()) {
    const std::vector<Message>& messages = conversation.messages;
    size_t last = 0;  // message whose text was seen last
    auto found = sightings.found().begin();
    for (const TextPart& block : whole.generation) {
      size_t inside = kNoMessage;
      const auto starts = [&](const Marker::Found& mark) {  // before the block is over
        const bool at_end = mark.at == block.end && (mark.behind || block.begin == block.end);
        return mark.at < block.end || at_end;
      };
      for (; found != sightings.found().end() && starts(*found); ++found) {
        const Probe& probe = sightings.marker().probes()[found->probe];
        if (probe.message == kNoMessage) continue;
        last = probe.message;
        const bool said = probe.kind != TextKind::kOther && messages[last].role == "assistant";
        if (said && found->at >= block.begin) inside = last;
      }
      size_t turn = inside != kNoMessage ? inside : last;
      while (turn < messages.size() && messages[turn].role != "assistant") ++turn;
      if (turn < messages.size()) blocks_[turn].push_back(block);
    }
    for (const Marker::Found& mark : sightings.found()) {
      const Probe& probe = sightings.marker().probes()[mark.probe];
      if (probe.kind != TextKind::kContent || In(probe.message, mark.at)) continue;
      outside_.insert(probe.message);
    }
  }

  // Its content must be in one.
  absl::StatusOr<std::vector<TextPart>> Of(size_t turn) const {
    if (!blocks_[turn].empty() && !outside_.contains(turn)) return blocks_[turn];
    return absl::InvalidArgumentError(absl::StrCat(
        "message ", turn, ": its answer, or a part of it, is in no {% generation %} block of chat ",
        "template ", renderer_.name(), ", which says that it is not to be learnt: mark the turn ",
        "weight: 0, set data.train_on last if it is so with all but the last, or set ",
        "data.chat_template"));
  }

 private:
  bool In(size_t turn, size_t at) const {
    return std::any_of(blocks_[turn].begin(), blocks_[turn].end(),
                       [&](const TextPart& block) { return block.begin <= at && at <= block.end; });
  }

  const Renderer& renderer_;
  std::vector<std::vector<TextPart>> blocks_;  // of each message
  std::set<size_t> outside_;                   // messages with content elsewhere
};

absl::Status OtherOrder(const Renderer& renderer) {
  return absl::InvalidArgumentError(
      absl::StrCat("chat template ", renderer.name(), " writes the turns in another order"));
}

absl::StatusOr<TextPart> Border(const Renderer& renderer, Borders* borders, size_t turn) {
  absl::StatusOr<TextPart> part = borders->Turn(turn);
  if (part.ok()) return part;
  return absl::IsFailedPrecondition(part.status()) ? OtherOrder(renderer)
                                                   : AnswerNotFound(renderer, turn);
}

}  // namespace

absl::Status AnswerNotFound(const Renderer& renderer, size_t turn) {
  return absl::InvalidArgumentError(
      absl::StrCat("message ", turn, ": its answer is not found in what chat template ",
                   renderer.name(), " writes: set data.chat_template to one that writes it"));
}

absl::StatusOr<Targets> FindTargets(const Renderer& renderer, const TurnEnds& ends,
                                    const Conversation& conversation, const Rendering& whole,
                                    bool remember) {
  FT_ASSIGN_OR_RETURN(const Sightings sightings, Sightings::Find(renderer, conversation, whole));
  Targets out;
  FT_ASSIGN_OR_RETURN(out.dropped_reasoning,
                      CheckNothingIsLeftOut(renderer, conversation, sightings));
  const bool tagged = !whole.generation.empty() && !whole.captured;
  const Blocks blocks(renderer, conversation, whole, sightings);
  Borders borders(renderer, ends, conversation, whole, sightings, remember);
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    if (!conversation.messages[i].learn) continue;
    if (tagged) {
      FT_ASSIGN_OR_RETURN(const std::vector<TextPart> parts, blocks.Of(i));
      out.parts.insert(out.parts.end(), parts.begin(), parts.end());
    } else {
      FT_ASSIGN_OR_RETURN(const TextPart part, Border(renderer, &borders, i));
      out.parts.push_back(part);
    }
  }
  size_t done = 0;
  for (const TextPart& part : out.parts) {
    if (part.begin < done || part.end < part.begin) return OtherOrder(renderer);
    done = part.end;
  }
  return out;
}

}  // namespace fttrain
