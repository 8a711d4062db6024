// Whether the template writes all that a conversation says.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/chat/targets.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

using State = Sightings::State;

class LeftOut {
 public:
  LeftOut(const Renderer& renderer, const Conversation& conversation, const Sightings& sightings)
      : renderer_(renderer), conversation_(conversation), sightings_(sightings) {
    for (size_t i = 0; i < probes().size(); ++i) {
      const Probe& probe = probes()[i];
      if (probe.blank) continue;
      // Of what is no message and of other keys one text that is there is enough.
      const size_t item = probe.message == kNoMessage ? probe.item : 0;
      const TextKind kind = probe.kind == TextKind::kCallName ? TextKind::kCallValue : probe.kind;
      groups_[{probe.message, kind, probe.key, item}].push_back(i);
    }
  }

  // Turns to be learnt come first: what is wrong with these is told before the rest.
  absl::StatusOr<int> Check() {
    std::set<size_t> dropped;
    FT_RETURN_IF_ERROR(Check(true, &dropped));
    FT_RETURN_IF_ERROR(Check(false, &dropped));
    return static_cast<int>(dropped.size());
  }

 private:
  absl::Status Check(bool learnt, std::set<size_t>* dropped) {
    for (const auto& [group, probes] : groups_) {
      const size_t message = std::get<0>(group);
      if (learnt != (message != kNoMessage && conversation_.messages[message].learn)) continue;
      const TextKind kind = std::get<1>(group);
      const auto there =
          std::count_if(probes.begin(), probes.end(), [&](size_t probe) { return IsThere(probe); });
      const bool all = static_cast<size_t>(there) == probes.size();
      const bool enough = message == kNoMessage || kind == TextKind::kOther ? there > 0 : all;
      if (enough) continue;
      if (kind == TextKind::kReasoning && WrittenWhenLast(message, std::get<2>(group), probes)) {
        dropped->insert(message);
        continue;
      }
      FT_RETURN_IF_ERROR(Refuse(probes[0], there > 0));
    }
    return absl::OkStatus();
  }

  const std::vector<Probe>& probes() const { return sightings_.marker().probes(); }

  bool IsThere(size_t probe) const {
    const State state = sightings_.state(probe);
    if (state == State::kPlaced || state == State::kSomewhere) return true;
    // What a template looks at, it uses.
    const TextKind kind = probes()[probe].kind;
    const bool looks =
        kind == TextKind::kOther || kind == TextKind::kTools || kind == TextKind::kDocuments;
    return looks && state == State::kUnknown;
  }

  // Whether the template has a place for such reasoning: it is there when its turn is the last.
  // What is found of one turn holds for those like it.
  bool WrittenWhenLast(size_t turn, const std::string& key, const std::vector<size_t>& probes) {
    const std::vector<Message>& messages = conversation_.messages;
    if (turn + 1 == messages.size()) return false;
    std::string shape = absl::StrCat(key, messages[turn].role, messages[turn].null_content);
    absl::StrAppend(&shape, turn == 0 ? "" : messages[turn - 1].role);
    for (const auto& [other, value] : messages[turn].more) absl::StrAppend(&shape, " ", other);
    const auto known = written_.find(shape);
    if (known != written_.end()) return known->second;
    const auto dialog = sightings_.marker().Marked([&](size_t probe) {
      return std::find(probes.begin(), probes.end(), probe) != probes.end();
    });
    const auto last = renderer_.Render(dialog, turn + 1, false);
    const bool written = last.ok() && !sightings_.marker().Scan(last->text).found.empty();
    return written_[shape] = written;
  }

  absl::Status Refuse(size_t index, bool in_part) const {
    const Probe& probe = probes()[index];
    const std::string chat = absl::StrCat("chat template ", renderer_.name());
    const std::string advice = " out of the row, or set data.chat_template to one that writes it";
    if (probe.message == kNoMessage) {
      return absl::InvalidArgumentError(absl::StrCat(
          probe.key, ": ", chat, " writes nothing of ",
          probe.item == 0 ? "them" : absl::StrCat("number ", probe.item), ": take it", advice));
    }
    const Message& message = conversation_.messages[probe.message];
    const std::string where =
        absl::StrCat("message ", probe.message, " (", message.role, "): ", chat);
    if (probe.kind == TextKind::kReasoning && probe.key == "content") {
      return absl::InvalidArgumentError(absl::StrCat(
          where, " leaves out what stands before </think>, even in the last turn: take it",
          advice));
    }
    if (probe.kind != TextKind::kContent) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, in_part ? " leaves out a part of its " : " writes nothing of its ", probe.key,
          probe.kind == TextKind::kReasoning ? ", even in the last turn" : "", ": take it",
          advice));
    }
    if (message.learn) return AnswerNotFound(renderer_, probe.message);
    return absl::InvalidArgumentError(
        absl::StrCat(where, " leaves ", in_part ? "a part of " : "", "it out: take it", advice));
  }

  const Renderer& renderer_;
  const Conversation& conversation_;
  const Sightings& sightings_;
  std::map<std::tuple<size_t, TextKind, std::string, size_t>, std::vector<size_t>> groups_;
  std::map<std::string, bool> written_;
};

}  // namespace

absl::StatusOr<int> CheckNothingIsLeftOut(const Renderer& renderer,
                                          const Conversation& conversation,
                                          const Sightings& sightings) {
  return LeftOut(renderer, conversation, sightings).Check();
}

}  // namespace fttrain
